//! The lines of the trace log: as the library writes them, with the ids of the call that a line is about.
//!
//! Whatever is said while a call is worked on, also by code that knows nothing of calls, can be found by the call's id,
//! and by that of its trace. Not here: what may be told (`log`).

use std::fmt::{self, Write as _};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::trace::{self, Tag};

/// The members, or fields, that are added.
const REQUEST: &str = "request.id";
const TRACE: &str = "trace.id";

/// A form of lines, to which the ids are added.
pub(super) struct WithIds<F> {
    pub(super) lines: F,
    pub(super) json: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(tag) = trace::current() else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        let said = |name: &str| event.metadata().fields().field(name).is_some();
        writer.write_str(&if self.json { in_json(&line, tag) } else { in_text(&line, tag, said) })
    }
}

/// Beside `fields`, at the end of the object.
fn in_json(line: &str, Tag { request_id, trace }: Tag) -> String {
    let Some(open) = line.trim_end().strip_suffix('}') else { return line.to_owned() };
    let mut line = format!("{open},\"{REQUEST}\":\"{request_id}\"");
    if let Some(context) = trace {
        let _ = write!(line, ",\"{TRACE}\":\"{}\"", context.trace);
    }
    line.push_str("}\n");
    line
}

/// Behind the line's own fields, where it does not have them itself.
fn in_text(line: &str, Tag { request_id, trace }: Tag, said: impl Fn(&str) -> bool) -> String {
    let mut line = line.trim_end_matches('\n').to_owned();
    if !said(REQUEST) {
        let _ = write!(line, " {REQUEST}={request_id}");
    }
    if let Some(context) = trace.filter(|_| !said(TRACE)) {
        let _ = write!(line, " {TRACE}={}", context.trace);
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;
    use tracing_subscriber::fmt::{self, MakeWriter};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::registry;
    use uuid::Uuid;

    use super::*;
    use crate::json::{self, Json};
    use crate::trace::Context;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What is written of a line of no call, of one within a call, and of one that names the call itself.
    async fn written(json: bool, tag: Tag) -> Vec<String> {
        let lines = Lines::default();
        let layer = fmt::layer().with_writer(lines.clone()).with_ansi(false);
        let say = || {
            tracing::info!(answer = 42, "said");
            tracing::info!(request.id = %tag.request_id, "named");
        };
        let all = async {
            say();
            trace::within(tag, async { say() }).await;
        };
        if json {
            let form = WithIds { lines: fmt::format().json(), json };
            let told = registry().with(layer.json().event_format(form));
            with_default(told, || futures_util::FutureExt::now_or_never(all));
        } else {
            let form = WithIds { lines: fmt::format().with_ansi(false), json };
            let told = registry().with(layer.event_format(form));
            with_default(told, || futures_util::FutureExt::now_or_never(all));
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn tag() -> Tag {
        Tag { request_id: Uuid::from_u128(7), trace: Some(Context::new(None, [15, u128::MAX], true)) }
    }

    #[tokio::test]
    async fn each_line_of_a_call_has_its_id_and_its_trace_in_json() {
        let told = written(true, tag()).await;
        let told: Vec<Json> = told.iter().map(|line| json::read(line.as_bytes(), 8).unwrap()).collect();
        assert_eq!(told.len(), 4);
        assert!(told[0].get("request.id").is_none() && told[0].get("trace.id").is_none());
        for line in &told[2..] {
            let text = |name: &str| line.get(name).and_then(Json::as_str).unwrap_or_default();
            assert_eq!(text("request.id"), "00000000-0000-0000-0000-000000000007");
            assert_eq!(text("trace.id"), "0000000000000000000000000000000f");
            assert!(line.get("fields").is_some() && line.get("timestamp").is_some());
        }
    }

    #[tokio::test]
    async fn each_line_of_a_call_has_its_id_once_in_text() {
        let told = written(false, tag()).await;
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].ends_with(": said answer=42"), "{}", told[0]);
        for line in &told[2..] {
            assert_eq!(line.matches("request.id=00000000-0000-0000-0000-000000000007").count(), 1, "{line}");
            assert!(line.ends_with(" trace.id=0000000000000000000000000000000f"), "{line}");
        }
        let without = written(false, Tag { trace: None, ..tag() }).await;
        assert!(!without[2].contains("trace.id"), "{}", without[2]);
    }
}
