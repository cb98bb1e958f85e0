//! All operations, with a secret in every place of a body that can hold one.
//!
//! Not here: secrets in headers, paths and queries (`heads`).

use http::Method;
use tunnelwarden::emulator::Fault;
use tunnelwarden::json::{Json, Object};
use tunnelwarden::operation::{AccountId, Operation, TunnelId};
use tunnelwarden::secret::ExposeSecret as _;

use super::hunt::{Hunt, embeddings, escaped};
use crate::harness::{ACCOUNT, Answer, World};

/// What the upstream makes of a call: each operation meets each of these.
const TURNS: [Option<Fault>; 11] = [
    None,
    Some(Fault::EchoBody),
    Some(Fault::Gzip),
    Some(Fault::Html),
    Some(Fault::HtmlAfter),
    Some(Fault::Malformed),
    Some(Fault::Status(500)),
    Some(Fault::StatusAfter(503)),
    Some(Fault::DropAfter),
    Some(Fault::WrongLength),
    Some(Fault::UnknownField),
];

/// One round of calls: their tunnels and secrets are its own.
struct Round<'a> {
    world: &'a World,
    hunt: &'a mut Hunt,
    turn: usize,
    /// Tunnels so far: each has an address of its own.
    made: usize,
}

/// Every operation in every shape, under every fault.
pub async fn drive(world: &World, hunt: &mut Hunt) {
    for turn in 0..TURNS.len() {
        resolved(world).await;
        let mut round = Round { world, hunt, turn, made: 0 };
        round.reads().await;
        round.writes().await;
        round.keys().await;
        round.check_keys_are_delivered().await;
    }
}

/// Waits until nobody asks the upstream any more what became of the last turn's lost calls: such a question would
/// meet the fault that is meant for a call of this turn.
async fn resolved(world: &World) {
    while world.admin("/readyz").await.text().contains("outcome is not known yet") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

impl Round<'_> {
    fn what(&self, place: &str) -> String {
        format!("{place}, {:?}", TURNS[self.turn])
    }

    /// A tunnel with a key in each place that takes one.
    fn tunnel(&mut self, place: &str) -> Object {
        let psk = self.hunt.secret(&self.what(&format!("{place}: psk")));
        let key = self.hunt.tame(&self.what(&format!("{place}: md5_key")));
        let mut tunnel = self.plain_tunnel();
        tunnel.set("psk", psk);
        let mut bgp = Object::new();
        bgp.set("customer_asn", 64512);
        bgp.set("md5_key", key);
        tunnel.set("bgp", bgp);
        tunnel
    }

    /// The same with the keys in its texts, in every spelling: nobody takes that, since the record would not tell
    /// what was asked for.
    async fn check_keys_in_texts(&mut self, operation: Operation, path: &str) {
        let mut tunnel = self.tunnel("keys in texts");
        let key = |pointer: &str| Json::from(tunnel.clone()).pointer(pointer)?.as_str().map(str::to_owned);
        let keys = [key("/psk"), key("/bgp/md5_key")].map(Option::unwrap);
        let texts = keys.map(|key| embeddings(&key)).concat();
        tunnel.set("description", texts.join(" | "));
        tunnel.set("name", format!("{} {}", texts[self.turn], self.made));
        let body = Json::from(tunnel).to_string();
        let answer = self.world.call("admin", operation.method(), path, Some(&body)).await;
        assert_eq!(answer.error_code(), 99127, "{}", answer.text());
        self.hunt.refused(self.what("keys in texts"), answer.body);
    }

    fn plain_tunnel(&mut self) -> Object {
        self.made += 1;
        let (turn, n) = (self.turn, self.made);
        let mut tunnel = Object::new();
        tunnel.set("name", format!("tunnel {turn} {n}"));
        tunnel.set("cloudflare_endpoint", "203.0.113.1");
        tunnel.set("customer_endpoint", format!("198.51.{turn}.{n}"));
        tunnel.set("interface_address", format!("10.{turn}.{n}.0/31"));
        tunnel
    }

    /// A tunnel that is there, with an `md5_key` that only the upstream knows.
    fn present(&mut self) -> TunnelId {
        let key = self.hunt.tame(&self.what("md5_key at the upstream"));
        let mut tunnel = self.plain_tunnel();
        tunnel.set("description", embeddings(&key).join(" ; "));
        let mut bgp = Object::new();
        bgp.set("customer_asn", 64512);
        bgp.set("md5_key", key);
        tunnel.set("bgp", bgp);
        self.world.emulator.put_tunnel(account(), &tunnel.into()).unwrap()
    }

    async fn call(&mut self, operation: Operation, path: &str, body: Option<String>) -> Answer {
        if let Some(fault) = TURNS[self.turn] {
            self.world.emulator.fault(fault, operation, 1);
        }
        let answer = self.world.call("admin", operation.method(), path, body.as_deref()).await;
        self.unknown(operation, &answer);
        answer
    }

    /// Members that no document tells of may hold secrets, too. The client gets them as they are.
    fn unknown(&mut self, operation: Operation, answer: &Answer) {
        let text = answer.text();
        let members: Vec<&str> = text.split(r#""ike_secret":""#).skip(1).collect();
        for text in &members {
            let secret = text.split('"').next().unwrap();
            self.hunt.known(&self.what(&format!("an unknown member, {operation:?}")), secret);
        }
        let wanted = TURNS[self.turn] == Some(Fault::UnknownField) && answer.status == 200;
        assert!(!wanted || members.len() >= 2, "in the envelope and in the result: {text}");
    }

    async fn reads(&mut self) {
        let id = self.present();
        self.call(Operation::List, "", None).await;
        self.call(Operation::Get, &format!("/{id}"), None).await;
    }

    async fn writes(&mut self) {
        self.check_keys_in_texts(Operation::Create, "").await;
        let bare = Json::from(self.tunnel("create"));
        self.call(Operation::Create, "", Some(bare.to_string())).await;
        self.call(Operation::Create, "?validate_only=true", Some(bare.to_string())).await;
        let list = Json::Array(vec![self.tunnel("wrapped create").into()]);
        self.call(Operation::Create, "", Some(wrapped("ipsec_tunnels", list))).await;
        let one = self.tunnel("singly wrapped create");
        self.call(Operation::Create, "", Some(wrapped("ipsec_tunnel", one.into()))).await;
        // The same text in other letters: escaped whole.
        let secret = self.hunt.plain(&self.what("escaped psk"));
        let mut tunnel = self.plain_tunnel();
        tunnel.set("psk", "HERE");
        let text = Json::from(tunnel).to_string().replace("HERE", &escaped(&secret));
        self.call(Operation::Create, "", Some(text)).await;

        let id = self.present();
        self.check_keys_in_texts(Operation::Update, &format!("/{id}")).await;
        let body = Json::from(self.tunnel("update")).to_string();
        self.call(Operation::Update, &format!("/{id}"), Some(body)).await;
        let elements: Vec<Json> = (0..2)
            .map(|_| {
                let id = self.present();
                let mut element = self.tunnel("bulk update");
                element.set("id", id.to_string());
                element.into()
            })
            .collect();
        let bodies = [
            wrapped("ipsec_tunnels", Json::Array(elements.clone())),
            Json::Array(elements.clone()).to_string(),
            elements[0].to_string(),
        ];
        for body in bodies {
            self.call(Operation::BulkUpdate, "", Some(body)).await;
        }
        self.call(Operation::Delete, &format!("/{id}"), None).await;
    }

    async fn keys(&mut self) {
        let ids = [self.present(), self.present()];
        let entries: Vec<Json> = ids
            .iter()
            .map(|id| {
                let secret = self.hunt.secret(&self.what("set PSKs"));
                Object::from_iter([("id", id.to_string()), ("psk", secret)]).into()
            })
            .collect();
        self.call(Operation::SetPsks, "/psk", Some(wrapped("psks", Json::Array(entries)))).await;
        // One applies and one does not: the answer holds both.
        let secret = self.hunt.secret(&self.what("set PSKs in part"));
        let entry = |id: String| Json::from(Object::from_iter([("id", id), ("psk", secret.clone())]));
        let part = Json::Array(vec![entry(ids[0].to_string()), entry("dead".to_owned())]);
        self.call(Operation::SetPsks, "/psk", Some(wrapped("psks", part))).await;

        let id = self.present();
        let path = format!("/{id}/psk_generate");
        let tried = self.call(Operation::GeneratePsk, &format!("{path}?validate_only=true"), None).await;
        self.minted(&tried, "a key that was minted to try");
        let made = self.call(Operation::GeneratePsk, &path, Some("{}".to_owned())).await;
        self.minted(&made, "a key that was minted");
        if let Some(key) = self.world.emulator.psk(account(), id) {
            self.hunt.known(&self.what("a key that only the upstream knows"), key.expose_secret());
        }
    }

    fn minted(&mut self, answer: &Answer, place: &str) {
        // A faulty answer may hold the key where no JSON reader finds it.
        let text = answer.text();
        let key = text.split_once(r#""psk":""#).and_then(|(_, rest)| rest.split('"').next());
        if let Some(key) = key.filter(|key| key.len() > 20) {
            self.hunt.known(&self.what(place), key);
        }
    }

    /// A record without secrets is worth nothing if the answers are without them, too.
    async fn check_keys_are_delivered(&mut self) {
        if self.turn > 0 {
            return;
        }
        let upstream = |id| self.world.emulator.psk(account(), id).unwrap().expose_secret().to_owned();
        let id = self.present();
        let made = self.world.call("admin", Method::POST, &format!("/{id}/psk_generate"), None).await;
        self.hunt.known("a key that was delivered", upstream(id));
        assert_eq!(made.text_at("/result/psk"), upstream(id));
        let secret = self.hunt.secret("a key that was set");
        let entry = Object::from_iter([("id", id.to_string()), ("psk", secret.clone())]);
        let body = wrapped("psks", Json::Array(vec![entry.into()]));
        let set = self.world.call("admin", Method::POST, "/psk", Some(&body)).await;
        assert_eq!(set.text_at(&format!("/result/successfully_applied_psks/{id}/psk")), secret);
        assert_eq!(upstream(id), secret);
        let tunnel = self.tunnel("a create that is read back");
        let body = Json::from(tunnel.clone());
        let made = self.world.call("admin", Method::POST, "", Some(&body.to_string())).await;
        let id = TunnelId::parse(&made.text_at("/result/id")).unwrap();
        assert_eq!(Some(upstream(id).as_str()), tunnel.get("psk").and_then(Json::as_str));
        let got = self.world.call("viewer", Method::GET, &format!("/{id}"), None).await;
        assert_eq!(got.json().pointer("/result/ipsec_tunnel/bgp/md5_key"), body.pointer("/bgp/md5_key"));
    }
}

fn wrapped(name: &'static str, inner: Json) -> String {
    Json::from(Object::from_iter([(name, inner)])).to_string()
}

fn account() -> AccountId {
    AccountId::parse(ACCOUNT).unwrap()
}
