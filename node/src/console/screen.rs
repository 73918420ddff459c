//! A whole terminal, drawn anew as things change, and its keys. As it was before when dropped.
//!
//! Every line passes [`harmless`](super::harmless) before it is drawn; the few sequences that a terminal obeys are written here.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{
    harmless::{coloured_line, painted, visible},
    look::Look,
};

/// Keys that wait to be looked at: more is a keyboard that somebody leans on.
const KEYS: usize = 16;

/// What a terminal has that doesn't say.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// A screen of its own for this process, while it lives.
#[derive(Debug)]
pub struct Screen {
    before: Termios,
    keys: mpsc::Receiver<Key>,
    resized: Signal,
    ended: Signal,
}

/// What is asked for at the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// An end: `q`, Esc, Ctrl-C, Ctrl-D; or SIGTERM.
    End,
    /// Another size, or another key: to be drawn anew.
    Redraw,
}

impl Screen {
    /// Takes the terminal; none if input or output is none.
    ///
    /// # Errors
    /// If the terminal can't be set.
    pub fn begin() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let (resized, ended) = (signal(SignalKind::window_change())?, signal(SignalKind::terminate())?);
        let before = tcgetattr(&stdin)?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        now.special_codes[SpecialCodeIndex::VMIN] = 1;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Flush, &now)?;
        let (tell, keys) = mpsc::channel(KEYS);
        // It ends with the process, or with the first key after nobody listens any more.
        std::thread::spawn(move || read_keys(&tell));
        let screen = Self { before, keys, resized, ended };
        write("\x1b[?1049h\x1b[?25l")?;
        Ok(Some(screen))
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(USUAL_SIZE, |size| (size.ws_col.into(), size.ws_row.into()))
    }

    /// Draws these lines from the top, as many as there is room for, each as wide as there is room for.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn draw(&self, lines: &[String]) -> io::Result<()> {
        let (columns, rows) = self.size();
        let coloured = Look::now().coloured;
        let mut frame = String::from("\x1b[H");
        for (row, line) in lines.iter().take(rows).enumerate() {
            frame += if row == 0 { "" } else { "\r\n" };
            frame += &painted(&visible(&coloured_line(line), columns), coloured);
            frame += "\x1b[K";
        }
        write(&(frame + "\x1b[J"))
    }

    /// Waits for a key, another size, or the end. Cancel-safe.
    pub async fn key(&mut self) -> Key {
        tokio::select! {
            biased;
            _ = self.ended.recv() => Key::End,
            key = self.keys.recv() => key.unwrap_or(Key::End),
            _ = self.resized.recv() => Key::Redraw,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = write("\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn read_keys(tell: &mpsc::Sender<Key>) {
    let mut typed = [0; 64];
    loop {
        let key = match rustix::io::read(io::stdin(), &mut typed) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) | Err(_) => Key::End,
            // An arrow begins with Esc, too, and has more letters.
            Ok(1) if matches!(typed[0], b'q' | b'Q' | 0x1b | 0x03 | 0x04) => Key::End,
            Ok(length) if typed[..length].contains(&b'q') => Key::End,
            Ok(_) => Key::Redraw,
        };
        if tell.blocking_send(key).is_err() || key == Key::End {
            return;
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
