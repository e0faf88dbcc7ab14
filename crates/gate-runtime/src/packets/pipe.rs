//! Bytes to packets, and back.

use crate::host::Start;
use crate::packets::output::Output;
use crate::packets::server::{InstanceServer, Packet, ServiceError};
use gate_wire::packet::{
    self, CODE_SERVICES, Data, Domain, Flow, HEADER_SIZE, Header, MAX_PACKET_SIZE, MAX_SERVICES, PacketError,
    SERVICE_AVAILABLE,
};
use std::task::{Context, Poll};

/// Packets are taken from services while less than this is kept for the program, in bytes.
const OUTPUT_SIZE: usize = 4 * MAX_PACKET_SIZE;

/// What is between a program and the services.
#[derive(Debug)]
pub(super) struct PacketPipe<S> {
    pub(super) server: S,
    /// From the program: at most one packet with its padding, of which no service has taken anything.
    pub(super) input: Vec<u8>,
    /// For the program: whole packets, but for what it has received already.
    pub(super) output: Output,
    /// Number of discovered services.
    pub(super) services: usize,
    /// What went wrong while nobody could be told.
    failure: Option<ServiceError>,
    /// What the program did wrong, if it was stopped for that.
    pub(super) violation: Option<String>,
}

impl From<PacketError> for ServiceError {
    fn from(error: PacketError) -> Self {
        Self::Violation(error.to_string())
    }
}

impl<S: InstanceServer> PacketPipe<S> {
    /// Begins with no services.
    pub(super) fn new(server: S) -> Self {
        Self::restored(server, Vec::new(), Vec::new(), 0)
    }

    pub(super) fn restored(server: S, input: Vec<u8>, output: Vec<u8>, services: usize) -> Self {
        Self { server, input, output: Output::new(output), services, failure: None, violation: None }
    }

    /// Tells that the program begins to run, or goes on: then it learns which services there are now.
    pub(super) fn begin(&mut self, start: &Start) {
        self.server.begin(start);
        if start.resumed && self.services > 0 {
            self.announce(Domain::Info);
        }
    }

    /// Takes bytes from the program, as many as services are ready for. Waits if that is none.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut data: &[u8],
    ) -> Poll<Result<usize, ServiceError>> {
        let size = data.len();
        loop {
            match self.missing()? {
                0 => {
                    if self.dispatch_input(cx)?.is_pending() {
                        break;
                    }
                }
                missing => {
                    if self.input.is_empty()
                        && let Some((packet, rest)) = whole_packet(data)?
                        && self.dispatch(cx, packet)?.is_ready()
                    {
                        data = rest;
                        continue;
                    }
                    if data.is_empty() {
                        break;
                    }
                    let (head, rest) = data.split_at(missing.min(data.len()));
                    self.input.extend_from_slice(head);
                    data = rest;
                }
            }
        }
        match size - data.len() {
            0 if size > 0 => Poll::Pending,
            taken => Poll::Ready(Ok(taken)),
        }
    }

    /// Waits until at least one byte would be taken from the program.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServiceError>> {
        match self.missing()? {
            0 => self.dispatch_input(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Waits until there are bytes for the program. They stay until they are consumed.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<Result<&mut Output, ServiceError>> {
        self.poll_services(cx)?;
        match self.output.size() {
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(&mut self.output)),
        }
    }

    /// Lets services make progress, as long as there is room for what they have to say.
    pub(super) fn poll_services(&mut self, cx: &mut Context<'_>) -> Result<(), ServiceError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        loop {
            // A program that only receives waits for the reply to this one, perhaps.
            if self.missing()? == 0 {
                let _ = self.dispatch_input(cx)?;
            }
            let before = self.output.size();
            self.poll_packets(cx)?;
            // A service that has said something may have room for more.
            if self.input.is_empty() || self.output.size() == before {
                return Ok(());
            }
        }
    }

    fn poll_packets(&mut self, cx: &mut Context<'_>) -> Result<(), ServiceError> {
        while self.output.size() < OUTPUT_SIZE {
            let poll = self.server.poll_packet(cx);
            // Why a service answers as it does may be that it has just gone.
            if self.server.take_change() {
                self.announce(Domain::Info);
            }
            match poll {
                Poll::Pending => break,
                Poll::Ready(Ok((service, packet))) => {
                    if service >= self.services || packet.content.len() > MAX_PACKET_SIZE - HEADER_SIZE {
                        return Err(ServiceError::fault("a service has made a packet that cannot be sent"));
                    }
                    self.output.push(service as i16, packet);
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Like [`PacketPipe::poll_services`], while the program does something else. Errors are told when it calls.
    pub(super) fn poll_background(&mut self, cx: &mut Context<'_>) {
        if self.failure.is_none() {
            self.failure = self.poll_services(cx).err();
        }
    }

    /// How many bytes are missing to the next thing that can be understood: a header, or a packet.
    fn missing(&self) -> Result<usize, PacketError> {
        match self.input.first_chunk() {
            Some(&header) => Ok(Header::decode(header)?.padded_size() - self.input.len()),
            None => Ok(HEADER_SIZE - self.input.len()),
        }
    }

    /// Hands the packet that has been put together to its service.
    fn dispatch_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServiceError>> {
        let mut input = std::mem::take(&mut self.input);
        let result = self.dispatch(cx, &input);
        if matches!(result, Poll::Ready(Ok(()))) {
            input.clear();
        }
        self.input = input;
        result
    }

    /// Hands a packet that is complete to its service.
    fn dispatch(&mut self, cx: &mut Context<'_>, packet: &[u8]) -> Poll<Result<(), ServiceError>> {
        let Some(&header) = packet.first_chunk() else { return Poll::Ready(Ok(())) };
        let header = Header::decode(header)?;
        let content = &packet[HEADER_SIZE..header.size as usize];
        match header.domain {
            Domain::Flow => drop(Flow::decode_all(content)?),
            Domain::Data => drop(Data::decode(content)?),
            Domain::Call | Domain::Info => {}
        }
        if header.code == CODE_SERVICES {
            if header.domain != Domain::Call {
                let what = format!("packet of domain {:?} for service discovery", header.domain);
                return Poll::Ready(Err(ServiceError::Violation(what)));
            }
            let names: Vec<&str> = packet::decode_names(content)?.collect::<Result<_, _>>()?;
            let names = &names[..names.len().min(MAX_SERVICES - self.services)];
            self.server.discover(names)?;
            self.services += names.len();
            self.announce(Domain::Call);
        } else {
            let service = header.code as usize;
            if service >= self.services {
                let what = format!("packet code {service}, but {} services discovered", self.services);
                return Poll::Ready(Err(ServiceError::Violation(what)));
            }
            if self.server.poll_ready(service, cx).is_pending() {
                return Poll::Pending;
            }
            let packet = Packet { domain: header.domain, index: header.index, content: content.to_vec() };
            self.server.handle(service, packet)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the program the state of all its services.
    fn announce(&mut self, domain: Domain) {
        self.server.take_change();
        let states = self.server.services();
        let mut content = (states.len() as u16).to_le_bytes().to_vec();
        content.extend(states.iter().map(|state| if state.available { SERVICE_AVAILABLE } else { 0 }));
        self.output.push(CODE_SERVICES, Packet::new(domain, content));
    }
}

type Split<'a> = (&'a [u8], &'a [u8]);

/// The first packet with its padding, if all of it is there, and what follows it.
fn whole_packet(data: &[u8]) -> Result<Option<Split<'_>>, PacketError> {
    let Some(&header) = data.first_chunk() else { return Ok(None) };
    Ok(data.split_at_checked(Header::decode(header)?.padded_size()))
}
