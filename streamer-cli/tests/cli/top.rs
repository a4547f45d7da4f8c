//! `top` on a real pseudo terminal of 80 columns and 24 lines.

use std::process::{Command, Stdio};

use crate::bench::{Bench, Ended};

/// Runs a command on a terminal. Each step waits until a text is on the screen, and types something, ends the command, or
/// shuts the server at a port down. Prints the last screen before the end, and then all that was received.
const TERMINAL: &str = r"
import fcntl, json, os, pty, re, select, signal, socket, struct, sys, termios, time
steps = json.loads(sys.argv[1])
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
received, deadline = b'', time.time() + 60
SEQUENCE = re.compile(r'\x1b\[([?0-9;]*)([A-Za-z])')
def screen():
    cells = [[' '] * 80 for _ in range(24)]
    row = column = at = 0
    text = received.decode(errors='replace')
    while at < len(text):
        found = SEQUENCE.match(text, at)
        if found:
            at, (numbers, what) = found.end(), found.groups()
            if what == 'H':
                row, column = [int(n or 1) - 1 for n in (numbers + ';').split(';')[:2]]
            elif what == 'J':
                cells = [[' '] * 80 for _ in range(24)]
            continue
        if row < 24 and column < 80 and text[at] >= ' ':
            cells[row][column] = text[at]
            column += 1
        at += 1
    return '\n'.join(''.join(line).rstrip() for line in cells)
def more():
    global received
    if not select.select([terminal], [], [], 0.1)[0]:
        return time.time() < deadline
    try:
        data = os.read(terminal, 65536)
    except OSError:
        return False
    received += data
    return bool(data)
for text, typed in steps:
    while text not in screen():
        if not more():
            sys.exit('never saw ' + repr(text) + ' in\n' + screen())
    last = screen()
    if typed == 'SIGTERM':
        os.kill(pid, signal.SIGTERM)
    elif typed.startswith('SHUTDOWN '):
        socket.create_connection(('127.0.0.1', int(typed[9:]))).sendall(b'SHUTDOWN NOSAVE\r\n')
    else:
        os.write(terminal, typed.encode())
while more():
    pass
sys.stdout.write(last + '\n')
sys.stdout.write(received.decode(errors='replace'))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

fn on_a_terminal(bench: &Bench, arguments: &[&str], steps: &[(&str, &str)]) -> Ended {
    let inner = bench.command(arguments);
    let mut command = Command::new("python3");
    command
        .args(["-c", TERMINAL, &serde_json::to_string(steps).unwrap()])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(inner.get_current_dir().unwrap());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The alternate screen is left, and the cursor is visible.
fn is_restored(ended: &Ended) -> bool {
    ended.stdout.contains("\u{1b}[?1049h")
        && ended.stdout.rfind("\u{1b}[?1049l") > ended.stdout.rfind("\u{1b}[?1049h")
        && ended.stdout.rfind("\u{1b}[?25h") > ended.stdout.rfind("\u{1b}[?25l")
}

#[test]
fn groups_a_failure_and_a_message_are_seen_in_a_terminal_which_is_restored() {
    for bench in [Bench::new(), Bench::on_servers()] {
        bench.script("bad.sh", "cat > /dev/null; echo 'no paper' >&2; exit 1");
        bench.write(
            "streamer.toml",
            "[listen_and_fire]\na = ['bad']\n[listeners.bad]\nprogram = ['./bad.sh']\nmode = 'message'\n",
        );
        let id = bench.emit("a", "{\"colour\":\"red\"}");
        bench.listen_all(&[]);
        bench.emit("a", "{\"colour\":\"blue\"}");
        let ended = on_a_terminal(
            &bench,
            &["top", "--interval", "200ms"],
            &[
                ("1 failure", "f"),
                ("no paper", "\r"),
                ("\"colour\": \"red\"", "\u{1b}"),
                ("Failures", "\u{1b}"),
                ("s sort: lag", "\r"),
                ("Nothing is pending.", "\u{1b}"),
                ("Stream a, group g", "q"),
            ],
        );
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains(&id), "{ended:?}");
        assert!(is_restored(&ended), "{ended:?}");
    }
}

#[test]
fn a_stream_with_nothing_but_events_for_later_has_a_row() {
    for bench in [Bench::new(), Bench::on_servers(), Bench::on_cluster()] {
        bench.ok(&["emit", "cart.reminder", "{}", "--in", "24h"]);
        let steps = [("Stream cart.reminder: no group; 1 scheduled", "q")];
        let ended = on_a_terminal(&bench, &["top", "--interval", "200ms"], &steps);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("1 scheduled"), "{ended:?}");
    }
}

#[test]
fn ctrl_c_and_sigterm_restore_the_terminal() {
    let bench = Bench::new();
    bench.emit("a", "{}");
    for action in ["\u{3}", "SIGTERM"] {
        let ended = on_a_terminal(&bench, &["top"], &[("1 stream", action)]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(is_restored(&ended), "{ended:?}");
    }
}

#[test]
fn a_store_that_goes_away_is_told_and_what_was_seen_stays() {
    let bench = Bench::on_redis();
    bench.emit("a", "{}");
    let shutdown = format!("SHUTDOWN {}", bench.redis.as_ref().unwrap().port());
    let steps = [("1 stream", shutdown.as_str()), ("old: could not", "q")];
    let ended = on_a_terminal(&bench, &["top", "--interval", "100ms"], &steps);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(is_restored(&ended), "{ended:?}");
}

#[test]
fn without_a_terminal_the_command_for_pipes_is_named() {
    let bench = Bench::new();
    bench.emit("a", "{}");
    let ended = bench.run(&["top"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("`top` needs a terminal to draw on"), "{ended:?}");
    assert!(ended.stderr.contains("status --watch"), "{ended:?}");
    assert_eq!(ended.stdout, "");
}
