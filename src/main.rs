//! The `duplex` program: commands, logging, exit codes.
//!
//! In: arguments, environment. Out: a running service or one sentence on what is wrong. Never: media or logic.
//! Exit codes: 0 done; 1 it failed, or was refused by the service; 2 wrong usage, value or configuration.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use duplex::api::panel::{DeviceHealth, Log, Sessions};
use duplex::cli_owner::{self, Question};
use duplex::cli_place::{Place, Wrong};
use duplex::config::{self, Config, Flags};
use duplex::{appliance, cli_auth, cli_hints, cli_recordings, cli_steering, control, devices, doctor, words};

mod cli_run;
use cli_run::log_filter;

/// A two-way WebRTC audio and video appliance: a browser sees and hears this device, and talks back.
#[derive(Parser)]
#[command(
    version,
    about,
    arg_required_else_help = true,
    after_help = "First steps: `duplex run`, then open https://localhost:8443/ in a browser.\n`duplex doctor` says what is missing.\n\n\
    Exit codes: 0 done; 1 it failed, or something is wrong; 2 wrong usage, value or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    // Else clap takes the flag nearest to a wrong one for the usage.
    #[command(override_usage = "duplex run [OPTIONS]")]
    Run(Box<Flags>),
    /// Check a configuration and print what it comes to
    #[command(override_usage = "duplex check-config [OPTIONS]")]
    CheckConfig(Box<Flags>),
    /// Print a complete, commented configuration file
    SampleConfig,
    /// Look at everything the service needs, and say what to install or change; fails if the service would not start
    #[command(override_usage = "duplex doctor [OPTIONS]")]
    Doctor(Box<Flags>),
    /// List cameras, microphones and speakers
    Devices {
        /// Also what of each camera can be set, with its range, for `camera-controls`
        #[arg(long)]
        controls: bool,
    },
    /// Tell how the running service and its device are; fails if something is wrong
    #[command(
        after_help = "Exit code 0: all is well. 1: the service says what is wrong, does not answer within 15 s, or does not run."
    )]
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// List who is connected to the running service, or end a session
    #[command(after_help = "Example:\n  duplex sessions\n  duplex sessions end 3f2a")]
    Sessions {
        #[command(subcommand)]
        command: Option<cli_owner::SessionsCommand>,
        #[command(flatten)]
        place: Place,
    },
    /// Show the last lines of the running service's log
    #[command(
        after_help = "Example:\n  duplex log --lines 50 --follow\n\nThe service keeps its last 500 lines in memory."
    )]
    Log {
        /// How many lines, 1 to 500
        #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
        lines: u16,
        /// Go on with each new line, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Speak a text into the running device's outgoing sound
    Say {
        /// What to say, 1 to 1000 characters
        text: String,
        #[command(flatten)]
        place: Place,
    },
    /// Play a sound file into the running device's outgoing sound
    Play {
        /// Anything GStreamer can decode
        #[arg(required_unless_present = "stop")]
        file: Option<std::path::PathBuf>,
        /// End whatever is being played or said, from wherever it was started
        #[arg(long, conflicts_with = "file")]
        stop: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Show or change where the running device's picture and sound come from
    Source {
        #[command(subcommand)]
        command: cli_steering::SourceCommand,
        #[command(flatten)]
        place: Place,
    },
    /// Change where the talker's sound goes at the running device
    Sound {
        #[command(subcommand)]
        command: cli_steering::SoundCommand,
        #[command(flatten)]
        place: Place,
    },
    /// Set a volume of the running device
    Volume {
        /// Which direction
        direction: cli_steering::Direction,
        /// 0 to 2; 1 is as it comes
        #[arg(value_parser = cli_steering::factor, allow_negative_numbers = true)]
        factor: f64,
        #[command(flatten)]
        place: Place,
    },
    /// Silence a direction of the running device
    Mute {
        /// Which direction
        direction: cli_steering::Direction,
        #[command(flatten)]
        place: Place,
    },
    /// Let a silenced direction of the running device be heard again
    Unmute {
        /// Which direction
        direction: cli_steering::Direction,
        #[command(flatten)]
        place: Place,
    },
    /// Record the running device's calls, both directions in one file; list, copy and delete recordings
    #[command(
        after_help = "Example:\n  duplex record start\n  duplex record stop\n  duplex record list\n  duplex record get NAME call.webm\n  duplex record delete NAME"
    )]
    Record {
        #[command(subcommand)]
        command: cli_recordings::RecordCommand,
        #[command(flatten)]
        place: Place,
    },
    /// Certificate authority and certificates
    Pki {
        #[command(subcommand)]
        command: duplex_pki::cli::Command,
        #[command(flatten)]
        place: Place,
    },
    #[command(flatten)]
    Auth(cli_auth::AuthCommand),
    /// Steps of the appliance's own start
    #[command(hide = true)]
    Appliance {
        #[command(subcommand)]
        command: appliance::Command,
    },
}

fn main() -> ExitCode {
    duplex::arenas::bound();
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let cli = Cli::try_parse().unwrap_or_else(|error| cli_hints::hinted(error, &words).exit());
    match dispatch(cli.command) {
        Ok(code) => code,
        // Who read it (`head`, say) has had enough: quiet, with the shell's code for that.
        Err(error) if is_left_alone(&error) => ExitCode::from(128 + 13),
        Err(error) => {
            fail(&error);
            if is_usage(&error) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether nobody reads any more what is printed. Not of the commands that print a secret once: there it is told.
fn is_left_alone(error: &anyhow::Error) -> bool {
    let cause = match error.downcast_ref() {
        Some(duplex_pki::Error::Stdio(cause)) => Some(cause),
        _ => error.downcast_ref(),
    };
    cause.is_some_and(|cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

fn fail(error: &anyhow::Error) {
    complain(&format!("duplex: {}", sentence(error)));
}

/// Whether the command line or the configuration is to blame.
fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<config::Error>()
        || error.is::<Wrong>()
        || matches!(error.downcast_ref(), Some(duplex::Error::Unplayable(_)))
        || error.downcast_ref::<cli_auth::Error>().is_some_and(cli_auth::Error::is_usage)
}

/// The error with its causes in one line; a cause that the text has already is not said twice.
fn sentence(error: &anyhow::Error) -> String {
    let text = error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match () {
        () if text.is_empty() => cause,
        () if text.contains(&cause) => text,
        () => format!("{text}: {cause}"),
    });
    words::plain(text)
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(flags) => cli_run::run(&flags)?,
        Command::CheckConfig(flags) => {
            let (config, settings) = explain(&flags)?;
            log_filter(&config)?;
            waiting()?.block_on(duplex::check_sources(&config, &settings))?;
            print(&format!("the configuration is good\n{}", config::listed(&settings)))?;
        }
        Command::SampleConfig => print(&config::sample())?,
        Command::Doctor(flags) => {
            let (config, settings) = explain(&flags)?;
            duplex::init_gstreamer()?;
            let mut findings = waiting()?.block_on(doctor::examine(&config, &settings));
            findings.extend(log_filter(&config).err().map(|error| doctor::Finding::bad("log", error)));
            for finding in &findings {
                print(&format!("{finding}\n"))?;
            }
            print(&format!("\n{}\n", doctor::summary(&findings)))?;
            if findings.iter().any(|finding| finding.verdict == doctor::Verdict::Bad) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Devices { controls } => list_devices(controls)?,
        Command::Status { place } => {
            let health: DeviceHealth = question(&place, Question::Status)?;
            let Sessions { sessions } = question(&place, Question::Sessions)?;
            print(&cli_owner::status(&health, &sessions))?;
            if !(health.problems.is_empty() && health.faults.is_empty()) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Sessions { command: None, place } => {
            let Sessions { sessions } = question(&place, Question::Sessions)?;
            print(&cli_owner::sessions(&sessions))?;
        }
        Command::Sessions { command: Some(cli_owner::SessionsCommand::End { id }), place } => {
            let ended: cli_owner::Ended = question(&place, Question::End { id })?;
            print(&cli_owner::ended(&ended))?;
        }
        Command::Log { lines, follow, place } => show_log(&place, lines.into(), follow)?,
        Command::Say { text, place } => {
            duplex::media::check_text(&text).map_err(Wrong)?;
            ask(&place, &control::Request::Say { text })?;
            print("the device speaks\n")?;
        }
        Command::Play { file: None, place, .. } => {
            let ended: Vec<String> = cli_recordings::answer(put(&place, &control::Request::EndAnnouncements)?)?;
            print(&match ended.as_slice() {
                [] => "nothing was being played or said\n".to_owned(),
                ended => format!("stopped {}\n", ended.join(", ")),
            })?;
        }
        Command::Play { file: Some(file), place, .. } => {
            let path =
                file.canonicalize().map_err(|error| Wrong(format!("cannot play {}: {error}", file.display())))?;
            if !path.is_file() {
                return Err(Wrong(format!("cannot play {}: it is not a file", file.display())).into());
            }
            ask(&place, &control::Request::Play { path })?;
            print(&format!("playing {}\n", file.display()))?;
        }
        Command::Source { command, place } => ask(&place, &command.request()?)?,
        Command::Sound { command, place } => ask(&place, &command.request()?)?,
        Command::Volume { direction, factor, place } => ask(&place, &direction.volume(factor))?,
        Command::Mute { direction, place } => ask(&place, &direction.mute(true))?,
        Command::Unmute { direction, place } => ask(&place, &direction.mute(false))?,
        Command::Record { command, place } => {
            let state = load(&place.flags())?.state_dir;
            let runtime = waiting()?;
            let ask = |request: &control::Request| runtime.block_on(patiently(control::ask(&state, request)));
            let cli_recordings::Outcome { text, refused } = cli_recordings::run(&command, ask)?;
            print(&text)?;
            refused.iter().for_each(fail);
            if !refused.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Pki { command, place } => {
            let config = load(&place.flags())?;
            let hint = match &command {
                duplex_pki::cli::Command::Issue { .. } => {
                    "note: a service that uses this folder issues anew for its own names, and for those in its `names`\n"
                }
                duplex_pki::cli::Command::Renew { .. } => "note: a running service takes it up within a minute\n",
                _ => "",
            };
            duplex_pki::cli::run(command, &config.state_dir.join("pki"))?;
            print(hint)?;
        }
        Command::Appliance { command } => appliance::run(command)?,
        Command::Auth(command) => cli_auth::run(&command, |name| std::env::var(name).ok())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn load(flags: &Flags) -> Result<Config, config::Error> {
    explain(flags).map(|(config, _)| config)
}

fn explain(flags: &Flags) -> Result<(Config, Vec<config::Setting>), config::Error> {
    for sentence in config::unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        eprintln!("warning: {sentence}");
    }
    config::explain(flags, |name| std::env::var(name).ok())
}

fn list_devices(controls: bool) -> anyhow::Result<()> {
    duplex::init_gstreamer()?;
    for class in [devices::Class::Camera, devices::Class::Microphone, devices::Class::Speaker] {
        let devices::Listed { devices: found, busy } = devices::list(class);
        match busy {
            Some(busy) => print(&format!("{:<12} ({busy})\n", class.word()))?,
            None if found.is_empty() => print(&format!("{:<12} none\n", class.word()))?,
            None => {}
        }
        if class == devices::Class::Camera {
            for (about, text) in devices::board::remarks(Path::new("/")) {
                if about.explains(found.is_empty() && busy.is_none()) {
                    print(&format!("{:<12} ({text})\n", class.word()))?;
                }
            }
        }
        let auto = devices::find(class, None).map(|device| device.name).unwrap_or_default();
        if !auto.is_empty() && !found.iter().any(|device| device.name == auto) {
            print(&format!("{:<12} {auto}  <- auto\n", class.word()))?;
        }
        for device in found {
            let mark = if device.name == auto { "  <- auto" } else { "" };
            print(&format!("{:<12} {}  ({}){mark}\n", class.word(), device.name, device.description))?;
            if controls && class == devices::Class::Camera {
                for line in devices::camera_settings::settable(&device) {
                    print(&format!("{:<12}   {line}\n", ""))?;
                }
            }
        }
    }
    Ok(())
}

fn ask(place: &Place, request: &control::Request) -> anyhow::Result<()> {
    if let control::Told::Present(present) = put(place, request)? {
        print(&match request {
            control::Request::Change { changes } => cli_steering::done(changes, &present),
            _ => cli_steering::shown(&present),
        })?;
    }
    Ok(())
}

/// Asks the running service something for the owner.
fn question<T: serde::de::DeserializeOwned>(place: &Place, question: Question) -> anyhow::Result<T> {
    cli_recordings::answer(put(place, &control::Request::Owner { question })?)
}

fn put(place: &Place, request: &control::Request) -> anyhow::Result<control::Told> {
    let config = load(&place.flags())?;
    Ok(waiting()?.block_on(patiently(control::ask(&config.state_dir, request)))?)
}

/// What a command waits with.
fn waiting() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Tells the person at the terminal what is waited for, once that takes longer than anybody expects.
async fn patiently<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = tokio::time::timeout(EXPECTED, &mut answer).await {
        return answer;
    }
    complain(&format!("duplex: waiting for the service's answer, {} s at most", control::PATIENCE.as_secs()));
    answer.await
}

/// The service answers most questions within milliseconds.
const EXPECTED: Duration = Duration::from_secs(2);

fn show_log(place: &Place, lines: usize, follow: bool) -> anyhow::Result<()> {
    let (mut after, mut most) = (0, lines);
    loop {
        let Log { lines } = question(place, Question::Log { after, lines: most })?;
        print(&cli_owner::log(&lines))?;
        if !follow {
            return Ok(());
        }
        after = lines.last().map_or(after, |line| line.number);
        most = duplex::log_tail::KEPT;
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn complain(text: &str) {
    // Nothing is left to tell when even stderr is closed.
    writeln!(std::io::stderr().lock(), "{text}").ok();
}
