//! Does a server say what is expected of it?

use isobar_plan::TcpStep;

use super::heard::{Heard, MAX_HEARD, shown};
use super::{Duplex, receive, send};
use crate::health::progress::Progress;

/// Goes through the steps, one after the other.
pub(super) async fn ask(stream: &mut dyn Duplex, steps: &[TcpStep], progress: &Progress) -> Result<(), String> {
    let mut heard = Heard::default();
    for step in steps {
        if !step.send.is_empty() {
            progress.now(format!("sending {}", shown(&step.send)));
            send(stream, &step.send).await?;
        }
        if !step.expect.is_empty() {
            heard.again();
            expect(stream, &step.expect, &mut heard, progress).await?;
        }
    }
    Ok(())
}

async fn expect(stream: &mut dyn Duplex, text: &[u8], heard: &mut Heard, progress: &Progress) -> Result<(), String> {
    let mut chunk = [0; 4096];
    loop {
        if heard.find(text) {
            return Ok(());
        }
        if heard.is_full() {
            return Err(format!(
                "expected {}, found {} and more, {MAX_HEARD} bytes without it",
                shown(text),
                heard.shown()
            ));
        }
        progress.now(format!("waiting for {}, heard {}", shown(text), heard.shown()));
        let count = receive(stream, &mut chunk).await?;
        if count == 0 {
            return Err(format!(
                "expected {}, found {} and the end of the connection",
                shown(text),
                heard.shown()
            ));
        }
        heard.push(chunk.get(..count).unwrap_or_default());
    }
}
