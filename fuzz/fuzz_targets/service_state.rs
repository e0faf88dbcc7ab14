//! Whatever comes as the state of a built-in service, or of the packets on their way, is refused, or is what the program goes on with.
#![no_main]

use gate_fuzz::services::{NAMES, Services, block_on};
use gate_runtime::{
    HostFunctions, InstanceServer, NoHostFunctions, PacketHost, SavedService, ServiceConfig, ServiceRegistry,
    Start,
};
use gate_service::{Domain, Packet};
use libfuzzer_sys::fuzz_target;
use std::task::{Context, Poll, Waker};

fn service(name: &str, state: &[u8]) {
    let services = Services::new();
    let saved = [SavedService { name: name.to_owned(), state: state.to_vec() }];
    let Ok(mut server) = services.registry().create_server(ServiceConfig::default(), &saved) else { return };
    let mut cx = Context::from_waker(Waker::noop());
    let again = server.save();
    let another =
        services.registry().create_server(ServiceConfig::default(), &again).expect("what was saved");
    assert_eq!(another.save().len(), again.len());
    drop(another);
    server.begin(&Start { resumed: true, monotonic_time: 0 });
    for round in 0..20 {
        if let Poll::Ready(packet) = server.poll_packet(&mut cx) {
            let (from, packet) = packet.expect("no fault");
            assert!(from == 0 && packet.content.len() <= 65528);
        }
        if round % 4 == 0 && server.poll_ready(0, &mut cx).is_ready() {
            server.handle(0, Packet::new(Domain::Call, vec![round])).expect("a call");
        }
    }
    let _ = server.poll_finish(&mut cx);
    let again = server.save();
    drop(server);
    services.registry().create_server(ServiceConfig::default(), &again).expect("what was saved");
}

fn packets(state: &[u8]) {
    let services = Services::new();
    let mut host = PacketHost::new(services.registry(), NoHostFunctions).expect("services");
    let saved = [SavedService { name: "gate.packets".into(), state: state.to_vec() }];
    if host.restore(&saved).is_err() {
        return;
    }
    let mut cx = Context::from_waker(Waker::noop());
    host.begin(&Start { resumed: true, monotonic_time: 0 });
    let _ = host.bytes().poll_write(&mut cx, &[0; 64]);
    let _ = host.bytes().poll_read(&mut cx, &mut [0; 64]);
    let again = host.save();
    let mut host = PacketHost::new(services.registry(), NoHostFunctions).expect("services");
    host.restore(&again).expect("what was saved");
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, state)) = data.split_first() else { return };
    block_on(async {
        match NAMES.get(usize::from(which) % (NAMES.len() + 1)) {
            Some(name) => service(name, state),
            None => packets(state),
        }
    });
});
