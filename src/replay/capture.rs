//! pcap and pcapng files.

use std::io::Read;

use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

use super::interface::ReplayError;
use crate::time::Time;

/// One frame of the capture.
pub(super) struct Frame<'a> {
    /// When it was captured.
    pub time: Time,
    /// Its link type (`LINKTYPE_…`).
    pub link: i32,
    /// The captured bytes, from the link header on.
    pub data: &'a [u8],
}

/// One interface of a pcapng section.
struct Interface {
    link: i32,
    /// Ticks of its timestamps in a second.
    resolution: u64,
}

/// No frame is larger: 256 KiB are tcpdump's own limit.
const BUFFER: usize = 1 << 20;

/// Reads a capture. Says whether it ends in the middle of a frame.
pub(super) fn read(
    capture: impl Read + Send,
    mut each: impl FnMut(Frame<'_>) -> Result<(), ReplayError>,
) -> Result<bool, ReplayError> {
    let mut reader = create_reader(BUFFER, capture).map_err(|error| damaged(&error))?;
    let mut header = Interface { link: 0, resolution: 1_000_000 };
    let mut interfaces: Vec<Interface> = Vec::new();
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(of) => {
                        let resolution = if of.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                        header = Interface { link: of.network.0, resolution };
                    }
                    PcapBlockOwned::Legacy(frame) => {
                        let part = u64::from(frame.ts_usec) * 1000 / header.resolution;
                        let time = Time::from_millis(u64::from(frame.ts_sec) * 1000 + part);
                        each(Frame { time, link: header.link, data: frame.data })?;
                    }
                    PcapBlockOwned::NG(block) => {
                        if let Some(frame) = next_generation(&block, &mut interfaces) {
                            each(frame)?;
                        }
                    }
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(false),
            Err(PcapError::UnexpectedEof) => return Ok(true),
            Err(PcapError::Incomplete(_)) => reader.refill().map_err(|error| damaged(&error))?,
            Err(error) => return Err(damaged(&error)),
        }
    }
}

fn next_generation<'a>(block: &Block<'a>, interfaces: &mut Vec<Interface>) -> Option<Frame<'a>> {
    match block {
        Block::SectionHeader(_) => {
            interfaces.clear();
            None
        }
        Block::InterfaceDescription(of) => {
            let resolution = of.ts_resolution().filter(|ticks| *ticks > 0).unwrap_or(1_000_000);
            interfaces.push(Interface { link: of.linktype.0, resolution });
            None
        }
        Block::EnhancedPacket(frame) => {
            let interface = interfaces.get(usize::try_from(frame.if_id).ok()?)?;
            let ticks = u128::from(frame.ts_high) << 32 | u128::from(frame.ts_low);
            let millis = u64::try_from(ticks * 1000 / u128::from(interface.resolution)).unwrap_or(u64::MAX);
            let data = frame.data.get(..usize::try_from(frame.caplen).ok()?).unwrap_or(frame.data);
            Some(Frame { time: Time::from_millis(millis), link: interface.link, data })
        }
        Block::SimplePacket(frame) => {
            let interface = interfaces.first()?;
            let length = usize::try_from(frame.origlen).ok()?;
            let data = frame.data.get(..length).unwrap_or(frame.data);
            Some(Frame { time: Time::ZERO, link: interface.link, data })
        }
        _ => None,
    }
}

fn damaged(error: &PcapError<&[u8]>) -> ReplayError {
    // the parser's own text holds bytes of the file
    ReplayError::Capture(match error {
        PcapError::HeaderNotRecognized => "neither pcap nor pcapng".to_owned(),
        PcapError::Eof => "the file is empty".to_owned(),
        PcapError::NomError(..) | PcapError::OwnedNomError(..) => "a damaged block".to_owned(),
        other => other.to_string(),
    })
}
