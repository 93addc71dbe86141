// SPDX-License-Identifier: GPL-2.0
//! A command that is asked about who calls: some at a time, for so long, and what they print.
//!
//! Whoever knows the interface's public key can have it run, so whatever comes: so many run, so many
//! wait, and none for ever. Nothing here waits for a command: `turn()` looks how far they are.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;
use rustix::process::{kill_process_group, Pid, Signal};

use crate::section::{self, Key, Peer};

/// What one may print, in bytes.
const LONGEST: usize = 256 << 10;
const TOO_MANY: &str = "too many call at a time";

/// Who calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The key that it claims.
    pub key: Key,
    /// The same, as `wg` writes it.
    pub word: String,
    /// Where from.
    pub endpoint: String,
    /// The interface as it is called now.
    pub interface: String,
}

/// How many, and how long.
pub struct Bounds {
    /// Run at a time.
    pub at_once: usize,
    /// Wait until one of these has ended.
    pub waiting: usize,
    /// How long one may take, from its start.
    pub run: Duration,
    /// How long one waits: then the caller has called again.
    pub wait: Duration,
}

/// The peer that is to be added, or none; or why that is not known.
pub type Answer = Result<Option<Peer>, String>;

/// One that runs.
struct Job {
    call: Call,
    child: Child,
    output: Option<ChildStdout>,
    printed: Vec<u8>,
    until: Instant,
    /// Why it was killed.
    killed: Option<String>,
}

/// Those that run, and who waits for it.
pub struct Commands {
    words: Vec<OsString>,
    bounds: Bounds,
    jobs: Vec<Job>,
    waiting: VecDeque<(Instant, Call)>,
}

impl Job {
    fn start(words: &[OsString], call: &Call, until: Instant) -> Result<Self, String> {
        let started = || -> io::Result<(Child, ChildStdout)> {
            let (name, more) = words.split_first().ok_or(ErrorKind::InvalidInput)?;
            let mut child = Command::new(name)
                .args(more)
                .args([&call.word, &call.endpoint])
                .env("WGRS_INTERFACE", &call.interface)
                .env("WGRS_PUBLIC_KEY", &call.word)
                .env("WGRS_ENDPOINT", &call.endpoint)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                // With all that it starts, it can be ended as one.
                .process_group(0)
                .spawn()?;
            let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
            ioctl_fionbio(&output, true)?;
            Ok((child, output))
        };
        match started() {
            Ok((child, output)) => Ok(Self {
                call: call.clone(),
                child,
                output: Some(output),
                printed: Vec::new(),
                until,
                killed: None,
            }),
            Err(e) => {
                let name = words.first().map_or("".into(), |n| n.to_string_lossy());
                Err(format!("{name} can't be started: {e}"))
            }
        }
    }

    /// Ends it, and what it has started. Only while it has not been waited for.
    fn kill(&mut self, why: String) {
        // That there is none any more is as good.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.output = None;
        self.killed.get_or_insert(why);
    }

    /// Takes what it has printed so far; or why it is not waited for any more.
    fn read(&mut self) -> Result<(), String> {
        let mut bytes = [0; 4096];
        while let Some(output) = &mut self.output {
            match output.read(&mut bytes) {
                Ok(0) => self.output = None,
                Ok(n) if self.printed.len() + n > LONGEST => {
                    return Err(format!("the command printed more than {LONGEST} bytes"));
                }
                Ok(n) => self.printed.extend(&bytes[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(format!("reading what the command prints: {e}")),
            }
        }
        Ok(())
    }

    /// How far it is; an answer when it has ended.
    fn turn(&mut self, now: Instant, allowed: Duration) -> Option<Answer> {
        // Looked at first: what it printed before its end is there then. It may have left others
        // behind that hold its output open; they are not waited for.
        let ended = self.child.try_wait();
        let read = self.read();
        match ended {
            // Its number may be another's from here on.
            Ok(Some(status)) => Some(match self.killed.take().map_or(read, Err) {
                Ok(()) => self.answer(status),
                Err(why) => Err(why),
            }),
            Ok(None) => {
                if let Err(why) = read {
                    self.kill(why);
                } else if now >= self.until {
                    self.kill(format!("the command took longer than {allowed:?}"));
                }
                None
            }
            Err(e) => Some(Err(format!("waiting for the command: {e}"))),
        }
    }

    fn answer(&self, status: ExitStatus) -> Answer {
        if !status.success() {
            return Err(format!("the command ended with {status}"));
        }
        let text = std::str::from_utf8(&self.printed)
            .map_err(|_| "what the command printed is no text".to_string())?;
        let found = section::peers(text).map_err(|e| format!("in what the command printed {e}"))?;
        let many = found.len();
        match (many, found.into_values().next()) {
            (_, None) => Ok(None),
            (1, Some(peer)) if peer.key == self.call.key => Ok(Some(peer)),
            (1, Some(_)) => Err("the command printed the section of another key".into()),
            _ => Err(format!("the command printed {many} sections")),
        }
    }
}

impl Commands {
    /// None so far. `words`: the command, and what stands before the key and the endpoint.
    pub fn new(words: Vec<OsString>, bounds: Bounds) -> Self {
        Self {
            words,
            bounds,
            jobs: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Asks about a caller at the next turn, unless it is asked already; or why not.
    pub fn ask(&mut self, call: &Call, now: Instant) -> Result<(), &'static str> {
        let asked = self.jobs.iter().map(|job| &job.call);
        if asked
            .chain(self.waiting.iter().map(|(_, call)| call))
            .any(|other| other.key == call.key)
        {
            return Ok(());
        }
        if self.waiting.len() >= self.bounds.waiting {
            return Err(TOO_MANY);
        }
        self.waiting.push_back((now, call.clone()));
        Ok(())
    }

    /// Looks at those that run, and starts who waits; what has come out.
    pub fn turn(&mut self, now: Instant) -> Vec<(Call, Answer)> {
        let mut done = Vec::new();
        let mut left = Vec::new();
        for mut job in self.jobs.drain(..) {
            match job.turn(now, self.bounds.run) {
                Some(answer) => done.push((job.call, answer)),
                None => left.push(job),
            }
        }
        self.jobs = left;
        while let Some((since, _)) = self.waiting.front() {
            let late = now.saturating_duration_since(*since) > self.bounds.wait;
            if !late && self.jobs.len() >= self.bounds.at_once {
                break;
            }
            let Some((_, call)) = self.waiting.pop_front() else {
                break;
            };
            if late {
                done.push((call, Err(TOO_MANY.into())));
                continue;
            }
            match Job::start(&self.words, &call, now + self.bounds.run) {
                Ok(job) => self.jobs.push(job),
                Err(why) => done.push((call, Err(why))),
            }
        }
        done
    }

    /// What tells that there is something for a turn, besides that a child ends, and time.
    pub fn outputs(&self) -> impl Iterator<Item = &ChildStdout> {
        self.jobs.iter().filter_map(|job| job.output.as_ref())
    }
}

/// None is left.
impl Drop for Commands {
    fn drop(&mut self) {
        for job in &mut self.jobs {
            job.kill(String::new());
        }
        for job in &mut self.jobs {
            let _ = job.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{Engine, BASE64_STANDARD};
    use std::thread::sleep;

    fn call(n: u8) -> Call {
        Call {
            key: [n; 32],
            word: BASE64_STANDARD.encode([n; 32]),
            endpoint: format!("10.0.0.{n}:7"),
            interface: "wg0".into(),
        }
    }

    /// A shell that runs a script, with the caller as `$1` and `$2`.
    fn shell(script: &str, at_once: usize, waiting: usize, run: Duration) -> Commands {
        let words = ["sh", "-c", script, "sh"].map(OsString::from).to_vec();
        Commands::new(
            words,
            Bounds {
                at_once,
                waiting,
                run,
                wait: Duration::from_secs(600),
            },
        )
    }

    const LONG: Duration = Duration::from_secs(600);

    /// Until so many have answered.
    fn answers(commands: &mut Commands, many: usize) -> Vec<(Call, Answer)> {
        let mut done = Vec::new();
        let end = Instant::now() + Duration::from_secs(60);
        while done.len() < many && Instant::now() < end {
            done.extend(commands.turn(Instant::now()));
            sleep(Duration::from_millis(5));
        }
        assert_eq!(done.len(), many);
        done
    }

    fn one(script: &str) -> Answer {
        let mut commands = shell(script, 1, 1, LONG);
        commands.ask(&call(1), Instant::now()).unwrap();
        let (who, answer) = answers(&mut commands, 1).remove(0);
        assert_eq!(who, call(1));
        answer
    }

    #[test]
    fn what_it_says() {
        let peer = one("printf '[Peer]\\nPublicKey=%s\\nAllowedIPs=%s\\n' \"$1\" \"${2%:*}\"");
        let peer = peer.unwrap().unwrap();
        assert_eq!(
            (peer.key, &*peer.allowed),
            ([1; 32], &[([10, 0, 0, 1].into(), 32)][..])
        );
        let peer = one("echo [Peer]; echo PublicKey=$WGRS_PUBLIC_KEY; test $WGRS_INTERFACE,$WGRS_ENDPOINT = wg0,$2");
        assert!(peer.unwrap().is_some());
        assert_eq!(one("true"), Ok(None));
        assert_eq!(one("echo"), Ok(None));
        let other = call(2).word;
        for (script, why) in [
            ("exit 3", "the command ended with exit status: 3"),
            ("kill -9 $$", "the command ended with signal: 9 (SIGKILL)"),
            (
                "echo junk",
                "in what the command printed line 1 is in no section",
            ),
            ("printf '\\377'", "what the command printed is no text"),
            (
                &format!("echo [Peer]; echo PublicKey={other}"),
                "the command printed the section of another key",
            ),
            (
                &format!("for k in $1 {other}; do echo [Peer]; echo PublicKey=$k; done"),
                "the command printed 2 sections",
            ),
            ("yes", "the command printed more than 262144 bytes"),
        ] {
            assert_eq!(one(script), Err(why.into()), "{script}");
        }
    }

    /// What can't be started is an answer; no shell looks at the words.
    #[test]
    fn no_such_command() {
        let mut commands = shell("", 1, 1, LONG);
        commands.words = vec!["/nonexistent; true".into()];
        commands.ask(&call(1), Instant::now()).unwrap();
        let why = answers(&mut commands, 1).remove(0).1.unwrap_err();
        assert!(
            why.starts_with("/nonexistent; true can't be started: No such file"),
            "{why}"
        );
    }

    /// So many run at a time, so many wait, and of one caller one.
    #[test]
    fn bounded() {
        let now = Instant::now();
        let mut commands = shell("read line < /dev/null; sleep 600", 2, 3, LONG);
        for n in [1, 2, 1] {
            commands.ask(&call(n), now).unwrap();
        }
        assert!(commands.turn(now).is_empty() && commands.jobs.len() == 2);
        for n in [3, 4, 5, 4, 1] {
            commands.ask(&call(n), now).unwrap();
        }
        assert_eq!(commands.ask(&call(6), now), Err(TOO_MANY));
        assert!(commands.turn(now).is_empty());
        assert_eq!((commands.jobs.len(), commands.waiting.len()), (2, 3));
        // Who has waited for too long calls again.
        let done = commands.turn(now + LONG - Duration::from_millis(1));
        assert!(done.is_empty());
        commands.bounds.wait = Duration::from_secs(5);
        let done = commands.turn(now + Duration::from_secs(6));
        assert_eq!(done.len(), 3);
        assert!(done.iter().all(|(_, answer)| answer.is_err()));
        assert_eq!(commands.outputs().count(), 2);
    }

    /// One that takes too long is ended with all that it has started; its output is not waited for.
    #[test]
    fn too_long() {
        let mut commands = shell("sleep 600 & echo $!; sleep 600", 1, 1, LONG);
        commands.ask(&call(1), Instant::now()).unwrap();
        commands.turn(Instant::now());
        let end = Instant::now() + Duration::from_secs(60);
        while commands.jobs[0].printed.is_empty() && Instant::now() < end {
            commands.turn(Instant::now());
            sleep(Duration::from_millis(5));
        }
        let started = String::from_utf8(commands.jobs[0].printed.clone()).unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.trim()));
            // Whoever waits for it may not have done so yet.
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        assert!(!gone());
        assert!(commands.turn(Instant::now() + LONG).is_empty());
        let (_, answer) = answers(&mut commands, 1).remove(0);
        assert_eq!(answer, Err("the command took longer than 600s".into()));
        while !gone() {
            assert!(Instant::now() < end);
            sleep(Duration::from_millis(5));
        }
    }

    /// One that has ended has answered, whoever holds its output open.
    #[test]
    fn left_behind() {
        let begun = Instant::now();
        assert_eq!(one("sleep 30 & exit 0"), Ok(None));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    /// With who asks, they end.
    #[test]
    fn dropped() {
        let mut commands = shell("sleep 600", 1, 1, LONG);
        commands.ask(&call(1), Instant::now()).unwrap();
        commands.turn(Instant::now());
        let pid = commands.jobs[0].child.id();
        drop(commands);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
