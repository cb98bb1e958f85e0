//! Makes the corpus of proofs and archives anew, with a new key that nobody keeps: `cargo run -p tunnelwarden-fuzz --bin seeds`.

use tunnelwarden::archive::{Header, Writer};
use tunnelwarden::seal::{self, Checkpoint, EntryProof, Hash, Signer, Tree, Verifier};
use tunnelwarden::secret::ExposeSecret as _;

#[path = "log.rs"]
mod log;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (secret, public) = seal::generate_key("tunnelwarden/corpus")?;
    let signer = Signer::new(secret.expose_secret())?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/log.rs");
    let text = std::fs::read_to_string(source)?;
    std::fs::write(source, text.replace(log::PUBLIC_KEY, &public))?;

    let leaves: Vec<Hash> = (0..log::ENTRIES).map(|n| seal::leaf_hash(log::entry(n).as_bytes())).collect();
    let note = |to: usize| {
        let mut tree = Tree::new();
        leaves[..to].iter().for_each(|leaf| drop(tree.push(*leaf)));
        Checkpoint { size: to as u64, root: tree.root(), chain: None }.sign(&signer)
    };
    let folder = |target: &str| format!("{}/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    for target in ["proof", "archive"] {
        let _ = std::fs::remove_dir_all(folder(target));
        std::fs::create_dir_all(folder(target))?;
    }

    std::fs::write(format!("{}/checkpoint", folder("proof")), note(16)?)?;
    for index in [0_usize, 6, 15] {
        // The size is a power of two, so what stands beside a subtree is as large as it.
        let beside = |level: u32| {
            let width = 1_usize << level;
            let at = ((index / width) ^ 1) * width;
            seal::perfect_root(&leaves[at..at + width])
        };
        let proof = (0..4).map(beside).collect();
        let proof =
            EntryProof { entry: log::entry(index as u64), index: index as u64, proof, checkpoint: note(16)? };
        proof.verify(&Verifier::new(&public)?)?;
        std::fs::write(format!("{}/entry-{index}", folder("proof")), proof.to_text())?;
    }

    for (from, to) in [(0_usize, 16_usize), (5, 12)] {
        let root = |(level, n): (u32, u64)| {
            let width = 1_usize << level;
            seal::perfect_root(&leaves[n as usize * width..][..width])
        };
        let roots = seal::subtrees(from as u64).into_iter().map(root).collect();
        let header = Header::new(from as u64, roots, &note(to)?, &[Verifier::new(&public)?])?;
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, header)?;
        for n in from..to {
            writer.push(&log::entry(n as u64))?;
        }
        writer.finish()?;
        std::fs::write(format!("{}/{from}-{to}.gz", folder("archive")), &file)?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*file), &mut text)?;
        std::fs::write(format!("{}/{from}-{to}", folder("archive")), text)?;
    }
    Ok(())
}
