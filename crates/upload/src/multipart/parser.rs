use bytes::{Buf, Bytes};
use memchr::memmem;

use super::{Boundary, Limits, PartHead, head};

/// Spaces and tabs that a gateway may have put after a delimiter (RFC 2046's transport padding).
const PADDING_BYTES_MAX: usize = 256;

/// How much of the input is copied at a time while the end of a part's head is looked for.
const HEAD_STEP_BYTES: usize = 512;

const HEAD_END: &[u8] = b"\r\n\r\n";

/// What the parser found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything fed so far is used up: [`Parser::feed`] more, or call [`Parser::end_of_input`].
    NeedInput,
    /// A part begins.
    PartHead(PartHead),
    /// Bytes of the part, never empty.
    Data(Bytes),
    /// The part is whole.
    PartEnd,
    /// The closing delimiter. What follows it is not looked at.
    End,
}

/// Why a body is not the form that it says it is. The text is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The input ended before the closing delimiter.
    #[error("the form ends before its closing boundary")]
    Truncated,
    /// More than [`Limits::preamble_bytes_max`] before the first delimiter.
    #[error("no boundary in the first {0} bytes")]
    PreambleTooLong(usize),
    /// A part's head is longer than [`Limits::head_bytes_max`].
    #[error("a part's head is longer than {0} bytes")]
    HeadTooLong(usize),
    /// More than [`Limits::parts_max`] parts.
    #[error("the form has more than {0} parts")]
    TooManyParts(usize),
    /// A delimiter that ends in a bare LF.
    #[error("lines of a form end in CR LF, not in LF")]
    BareLineFeed,
    /// A delimiter followed by something else than the end of its line.
    #[error("a boundary is not alone on its line")]
    BoundaryLine,
    /// A part's header fields cannot be used.
    #[error("a part's head is malformed: {0}")]
    Head(&'static str),
}

/// A streaming parser: `feed` a frame, call `next_event` until it says [`Event::NeedInput`].
///
/// A delimiter may be cut anywhere between frames. Because CR stands only at the delimiter's start, a tail that might
/// begin a delimiter is known by its length alone; when it turns out to be data, it is given back as a slice of
/// the delimiter itself.
#[derive(Debug)]
pub struct Parser {
    /// CR LF `--` boundary.
    delimiter: Bytes,
    finder: memmem::Finder<'static>,
    limits: Limits,
    state: State,
    in_part: bool,
    input: Bytes,
    /// Bytes of the delimiter seen at the end of what was consumed.
    held: usize,
    /// How many of `held` were assumed: at the start of the body and after a head, the CR LF before a delimiter may be
    /// the one that is already consumed or not there at all.
    assumed: usize,
    preamble_bytes: usize,
    /// CR LF and the head's bytes so far.
    head: Vec<u8>,
    parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the preamble or in a part.
    Content,
    /// The delimiter's bytes were there; whether it is one depends on what follows.
    Delimiter,
    /// `-` after the delimiter.
    Dash,
    Padding(usize),
    LineFeed,
    Head,
    Ended,
}

enum Scan {
    Content(Bytes),
    Delimiter,
    NeedInput,
}

impl Parser {
    /// A parser at the start of a body.
    pub fn new(boundary: &Boundary, limits: Limits) -> Self {
        let delimiter = Bytes::from([b"\r\n--", boundary.as_bytes()].concat());
        Self {
            finder: memmem::Finder::new(&delimiter).into_owned(),
            delimiter,
            limits,
            state: State::Content,
            in_part: false,
            input: Bytes::new(),
            held: 2,
            assumed: 2,
            preamble_bytes: 0,
            head: Vec::new(),
            parts: 0,
        }
    }

    /// Gives the next frame. To be called after [`Event::NeedInput`] only.
    pub fn feed(&mut self, frame: Bytes) {
        debug_assert!(self.input.is_empty(), "fed before the last frame was used up");
        self.input = frame;
    }

    /// Says that no more input comes.
    pub fn end_of_input(&self) -> Result<(), Malformed> {
        if self.state == State::Ended { Ok(()) } else { Err(Malformed::Truncated) }
    }

    /// The next event. After an error, or [`Event::End`], there is nothing more to ask.
    pub fn next_event(&mut self) -> Result<Event, Malformed> {
        loop {
            match self.state {
                State::Content => match self.scan() {
                    Scan::Content(content) if self.in_part => return Ok(Event::Data(content)),
                    Scan::Content(content) => self.skip_preamble(content.len())?,
                    Scan::Delimiter => self.state = State::Delimiter,
                    Scan::NeedInput => return Ok(Event::NeedInput),
                },
                State::Delimiter => match self.input.first().copied() {
                    None => return Ok(Event::NeedInput),
                    Some(b'-') => {
                        self.input.advance(1);
                        self.state = State::Dash;
                    }
                    Some(b' ' | b'\t' | b'\r' | b'\n') => {
                        self.state = State::Padding(0);
                        if self.leave_part() {
                            return Ok(Event::PartEnd);
                        }
                    }
                    // A longer line that begins like the delimiter.
                    Some(_) => {
                        let content = self.delimiter.slice(self.assumed..);
                        if let Some(event) = self.not_a_delimiter(content)? {
                            return Ok(event);
                        }
                    }
                },
                State::Dash => match self.input.first().copied() {
                    None => return Ok(Event::NeedInput),
                    Some(b'-') if self.leave_part() => return Ok(Event::PartEnd),
                    Some(b'-') => {
                        self.input.clear();
                        self.state = State::Ended;
                    }
                    Some(_) => {
                        let content = [&self.delimiter[self.assumed..], b"-"].concat().into();
                        if let Some(event) = self.not_a_delimiter(content)? {
                            return Ok(event);
                        }
                    }
                },
                State::Padding(seen) => match self.input.first().copied() {
                    None => return Ok(Event::NeedInput),
                    Some(b' ' | b'\t') if seen < PADDING_BYTES_MAX => {
                        self.input.advance(1);
                        self.state = State::Padding(seen + 1);
                    }
                    Some(b'\r') => {
                        self.input.advance(1);
                        self.state = State::LineFeed;
                    }
                    Some(b'\n') => return Err(Malformed::BareLineFeed),
                    Some(_) => return Err(Malformed::BoundaryLine),
                },
                State::LineFeed => match self.input.first().copied() {
                    None => return Ok(Event::NeedInput),
                    Some(b'\n') => {
                        self.input.advance(1);
                        self.begin_head()?;
                    }
                    Some(_) => return Err(Malformed::BoundaryLine),
                },
                State::Head => {
                    return Ok(match self.read_head()? {
                        Some(head) => Event::PartHead(head),
                        None => Event::NeedInput,
                    });
                }
                State::Ended => return Ok(Event::End),
            }
        }
    }

    fn scan(&mut self) -> Scan {
        if self.held > 0 {
            let wanted = &self.delimiter[self.held..];
            let compared = wanted.len().min(self.input.len());
            if wanted[..compared] == self.input[..compared] {
                self.input.advance(compared);
                self.held += compared;
                let whole = self.held == self.delimiter.len();
                return if whole { Scan::Delimiter } else { Scan::NeedInput };
            }
            let content = self.delimiter.slice(self.assumed..self.held);
            self.hold(0, 0);
            if !content.is_empty() {
                return Scan::Content(content);
            }
        }
        let (content_bytes, held) = match self.finder.find(&self.input) {
            Some(at) => (at, self.delimiter.len()),
            None => {
                let held = self.partial_delimiter();
                (self.input.len() - held, held)
            }
        };
        let content = self.input.split_to(content_bytes);
        self.input.advance(held);
        self.hold(held, 0);
        if !content.is_empty() {
            Scan::Content(content)
        } else if held == self.delimiter.len() {
            Scan::Delimiter
        } else {
            Scan::NeedInput
        }
    }

    /// How many bytes at the end of the input may begin a delimiter.
    fn partial_delimiter(&self) -> usize {
        let window = self.input.len().min(self.delimiter.len() - 1);
        let tail = &self.input[self.input.len() - window..];
        match memchr::memrchr(b'\r', tail) {
            Some(at) if self.delimiter.starts_with(&tail[at..]) => window - at,
            _ => 0,
        }
    }

    fn not_a_delimiter(&mut self, content: Bytes) -> Result<Option<Event>, Malformed> {
        self.hold(0, 0);
        self.state = State::Content;
        if self.in_part {
            return Ok(Some(Event::Data(content)));
        }
        self.skip_preamble(content.len())?;
        Ok(None)
    }

    fn skip_preamble(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.preamble_bytes = self.preamble_bytes.saturating_add(bytes);
        if self.preamble_bytes > self.limits.preamble_bytes_max {
            return Err(Malformed::PreambleTooLong(self.limits.preamble_bytes_max));
        }
        Ok(())
    }

    fn leave_part(&mut self) -> bool {
        std::mem::take(&mut self.in_part)
    }

    fn begin_head(&mut self) -> Result<(), Malformed> {
        self.parts += 1;
        if self.parts > self.limits.parts_max {
            return Err(Malformed::TooManyParts(self.limits.parts_max));
        }
        self.head.clear();
        self.head.extend_from_slice(b"\r\n");
        self.state = State::Head;
        Ok(())
    }

    fn read_head(&mut self) -> Result<Option<PartHead>, Malformed> {
        let room = self.limits.head_bytes_max + HEAD_END.len();
        while !self.input.is_empty() {
            let before = self.head.len();
            let step = self.input.len().min(HEAD_STEP_BYTES).min(room - before);
            self.head.extend_from_slice(&self.input[..step]);
            let from = before.saturating_sub(HEAD_END.len() - 1);
            if let Some(at) = memmem::find(&self.head[from..], HEAD_END) {
                let end = from + at + HEAD_END.len();
                self.input.advance(end - before);
                let part = head::parse(&self.head[2..end - 2])?;
                self.head = Vec::new();
                self.in_part = true;
                self.state = State::Content;
                // A part without a body may end right here: the empty line is then the delimiter's CR LF.
                self.hold(2, 2);
                return Ok(Some(part));
            }
            self.input.advance(step);
            if self.head.len() == room {
                return Err(Malformed::HeadTooLong(self.limits.head_bytes_max));
            }
        }
        Ok(None)
    }

    fn hold(&mut self, held: usize, assumed: usize) {
        self.held = held;
        self.assumed = assumed;
    }
}

#[cfg(test)]
mod tests;
