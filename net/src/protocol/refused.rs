//! Answers to writes that the node refuses in its shards' place, in every dialect.

use ringcache_engine::WriteRefusal;

use crate::output::Output;
use crate::protocol::binary;
use crate::session::answers::{Form, Verb};

/// The line that says why.
pub fn line(refusal: WriteRefusal) -> &'static [u8] {
    match refusal {
        WriteRefusal::Replica => b"SERVER_ERROR this node is a replica: write to its primary\r\n",
        WriteRefusal::TooFewReplicas => {
            b"SERVER_ERROR not enough replicas are connected: nothing was written\r\n"
        }
        WriteRefusal::ReplicasLag => b"SERVER_ERROR replicas lag too far behind: nothing was written\r\n",
        WriteRefusal::InDoubt => {
            b"SERVER_ERROR write in doubt: done here, not confirmed by enough replicas in time\r\n"
        }
    }
}

/// Encodes the answer. `kept` is what the request left behind for it.
pub fn answer(refusal: WriteRefusal, form: Form, kept: &[u8], output: &mut Output) {
    match form.verb {
        // Nobody asked; or one key of a line whose other keys are answered, and then it is a miss.
        Verb::Unasked | Verb::GetAndTouch { .. } => {}
        Verb::Binary | Verb::BinaryGetAndTouch => binary::refuse_write(refusal, kept, output),
        _ if form.silent => {}
        _ => output.push(line(refusal)),
    }
}
