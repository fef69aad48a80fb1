//! Where is the picture drawn, and which keys are pressed?
//!
//! On a terminal the picture is drawn over itself in one write a frame; elsewhere there is a line a second.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, terminal};
use tokio::sync::mpsc;

use crate::picture::Line;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Stop or start a server, counted from 0.
    Toggle(usize),
    /// Make a server slow, or fast again.
    Slow,
    /// Make a server fail, or work again.
    Fail,
    /// The next way of balancing.
    Balance,
    /// The end.
    Quit,
}

/// What a key that is pressed asks for; none: it has no meaning here.
pub(super) type Meaning<K> = fn(KeyCode) -> Option<K>;

/// Where it is shown, with keys that ask for a `K`.
pub(super) enum Surface<K> {
    /// A terminal.
    Screen(Screen<K>),
    /// Anything else: a pipe, a file.
    Plain(Plain),
}

/// What the standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// A terminal.
    Terminal,
    /// A terminal on which colours are not wanted.
    Colorless,
    /// Anything else.
    Stream,
}

impl<K: Send + 'static> Surface<K> {
    /// Takes over the standard output, and on a terminal the keyboard too. Ctrl-C, Ctrl-D and Escape mean `q`.
    pub(super) fn open(output: Output, meaning: Meaning<K>) -> Result<Self> {
        match output {
            Output::Stream => Ok(Self::Plain(Plain::new())),
            Output::Terminal | Output::Colorless => Ok(Self::Screen(Screen::open(output, meaning)?)),
        }
    }

    /// The next key. Cancel-safe.
    pub(super) async fn key(&mut self) -> K {
        if let Self::Screen(screen) = self
            && let Some(key) = screen.keys.recv().await
        {
            return key;
        }
        std::future::pending().await
    }

    /// Gives the terminal back, with some last lines on it.
    pub(super) fn close(self, last: &str) -> Result<()> {
        drop(self);
        Plain::new().line(last)
    }
}

/// The standard output as a stream of lines.
pub(super) struct Plain(io::Stdout);

impl Plain {
    /// The standard output.
    pub(super) fn new() -> Self {
        Self(io::stdout())
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.0, "{text}").context("failed to write to the standard output")
    }
}

/// A terminal that is drawn on; as it was before when dropped.
pub(super) struct Screen<K> {
    colors: bool,
    keys: mpsc::Receiver<K>,
    raw: bool,
}

impl<K: Send + 'static> Screen<K> {
    fn open(output: Output, meaning: Meaning<K>) -> Result<Self> {
        let (tell, keys) = mpsc::channel(8);
        // Without a keyboard, as in `isobar < /dev/null`, there is a picture all the same.
        let raw = io::stdin().is_terminal() && terminal::enable_raw_mode().is_ok();
        let screen = Self {
            colors: output == Output::Terminal,
            keys,
            raw,
        };
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide).context("failed to use the terminal")?;
        if raw {
            thread::Builder::new()
                .name("keys".to_owned())
                .spawn(move || read_keys(&tell, meaning))
                .context("failed to read keys")?;
        }
        Ok(screen)
    }

    /// Draws the picture for so many columns over the last one, in one write.
    pub(super) fn draw(&mut self, picture: impl FnOnce(usize) -> Vec<Line>) -> Result<()> {
        let (columns, rows) = terminal::size().unwrap_or((80, 24));
        let lines = picture(usize::from(columns));
        let frame = frame(&lines, usize::from(rows), self.colors);
        let mut output = io::stdout().lock();
        output
            .write_all(frame.as_bytes())
            .and_then(|()| output.flush())
            .context("failed to draw")
    }
}

impl<K> Drop for Screen<K> {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that is gone.
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        if self.raw {
            let _ = terminal::disable_raw_mode();
        }
    }
}

/// The bytes of a frame: each line over the old one, and nothing left of it behind or below.
fn frame(lines: &[Line], rows: usize, colors: bool) -> String {
    // Terminals that know it (DEC private mode 2026) show the frame at once; others ignore it.
    let mut text = String::from("\x1b[?2026h\x1b[H");
    for (row, line) in lines.iter().take(rows).enumerate() {
        if row > 0 {
            text.push_str("\r\n");
        }
        for (tone, piece) in line {
            if colors {
                // Writing to a string never fails.
                let _ = write!(text, "\x1b[{}m{piece}\x1b[0m", tone.code());
            } else {
                text.push_str(piece);
            }
        }
        text.push_str("\x1b[K");
    }
    text.push_str("\x1b[J\x1b[?2026l");
    text
}

fn read_keys<K>(tell: &mpsc::Sender<K>, meaning: Meaning<K>) {
    // Ends with the screen, at the next look.
    while !tell.is_closed() {
        match event::poll(Duration::from_millis(100))
            .and_then(|ready| if ready { event::read().map(Some) } else { Ok(None) })
        {
            Ok(Some(Event::Key(key))) => {
                if let Some(key) = pressed(key).and_then(meaning) {
                    // A full queue means that keys come faster than anybody presses them on purpose.
                    let _ = tell.try_send(key);
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// The key that is pressed, with those that end everything taken for `q`.
fn pressed(key: KeyEvent) -> Option<KeyCode> {
    match key.code {
        _ if key.kind == KeyEventKind::Release => None,
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(KeyCode::Char('q')),
        KeyCode::Esc => Some(KeyCode::Char('q')),
        code => Some(code),
    }
}

impl Key {
    /// What a key asks for.
    pub(super) fn meaning(code: KeyCode) -> Option<Self> {
        match code {
            KeyCode::Char('q') => Some(Self::Quit),
            KeyCode::Char('s') => Some(Self::Slow),
            KeyCode::Char('f') => Some(Self::Fail),
            KeyCode::Char('b') => Some(Self::Balance),
            KeyCode::Char(digit @ '1'..='3') => Some(Self::Toggle(usize::from(digit as u8 - b'1'))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Tone;

    #[test]
    fn keys_have_their_meaning() {
        let check = |code, modifiers, expected| {
            let key = pressed(KeyEvent::new(code, modifiers)).and_then(Key::meaning);
            assert_eq!(key, expected, "{code:?}");
        };
        check(KeyCode::Char('1'), KeyModifiers::NONE, Some(Key::Toggle(0)));
        check(KeyCode::Char('3'), KeyModifiers::NONE, Some(Key::Toggle(2)));
        check(KeyCode::Char('4'), KeyModifiers::NONE, None);
        check(KeyCode::Char('f'), KeyModifiers::NONE, Some(Key::Fail));
        check(KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Key::Quit));
        check(KeyCode::Char('c'), KeyModifiers::NONE, None);
    }

    #[test]
    fn a_frame_leaves_nothing_of_the_last_one() {
        let lines = [
            vec![(Tone::Good, "up".to_owned())],
            vec![],
            vec![(Tone::Plain, "below".to_owned())],
        ];
        let check = |rows, colors, expected: &str| {
            assert_eq!(
                frame(&lines, rows, colors),
                format!("\x1b[?2026h\x1b[H{expected}\x1b[J\x1b[?2026l")
            );
        };
        check(3, false, "up\x1b[K\r\n\x1b[K\r\nbelow\x1b[K");
        check(1, true, "\x1b[32mup\x1b[0m\x1b[K");
    }
}
