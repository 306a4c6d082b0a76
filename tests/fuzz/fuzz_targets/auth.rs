//! Files of users and clients that have to say who they are. Any file is read or refused; any bytes in any pieces to a
//! session do nothing before the right password, which nobody can guess here; with it the session goes on.

#![no_main]

mod world;

use libfuzzer_sys::fuzz_target;
use ringcache_engine::KeyHash;
use ringcache_net::auth::users::{Layout, Users};
use ringcache_net::config::{Binding, Config};
use world::World;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    read_users(data);
    let is_binary = choice & 1 != 0;
    let config = if is_binary {
        Config { binding: Binding::Binary, sasl_file: Some("users".into()), ..Config::default() }
    } else {
        Config { binding: Binding::Ascii, auth_file: Some("users".into()), ..Config::default() }
    };
    // The password depends on all of the input, so that the input can't hold it.
    let password = format!("{:016x}", KeyHash::of(data).0);
    let layout = if is_binary { Layout::Fields } else { Layout::Pairs };
    let users = Users::parse(format!("user:{password}").as_bytes(), layout).expect("the line is well formed");
    let mut world = World::new(3, config);
    world.node.auth.replace(users);
    world.play(data, 1 + usize::from(choice >> 1));
    let counters = &world.node.workers[0];
    let done =
        [&counters.cmd_get, &counters.cmd_set, &counters.cmd_touch, &counters.cmd_flush, &counters.cmd_meta];
    assert!(done.iter().all(|counter| counter.value() == 0), "a stranger's command was executed");
    assert_eq!(counters.auth_cmds.value(), counters.auth_errors.value(), "a stranger was let in");
});

/// A line of the file lets in whoever says it, and nobody else with a longer password.
fn read_users(text: &[u8]) {
    for layout in [Layout::Pairs, Layout::Fields] {
        let Ok(users) = Users::parse(text, layout) else { continue };
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.split(|byte| matches!(byte, b'\r' | 0)).next().unwrap_or_default();
            let Some(end) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, password) = (&line[..end], &line[end + 1..]);
            assert!(users.admits(name, password), "a user of the file is not known");
            assert!(!users.admits(name, &[password, b"\0"].concat()), "a zero byte is no part of a password");
        }
    }
}
