//! `exchange-model`: the model of an Exchange server on real sockets, for people and for other mail servers.

use std::fs;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use penstock_exchange::Server;
use penstock_exchange::real::{Model, Options};
use penstock_exchange::units;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// A model of an Exchange server: takes mail as one does, comes under pressure as one does, is rebuilt as one is.
///
/// It writes a line of status now and then, and at its end one JSON object with all counts. While it runs it takes
/// commands on standard input and by `POST /command`; `help` lists them.
#[derive(Debug, Parser)]
#[command(name = "exchange-model", version, max_term_width = 100)]
#[command(after_help = "\
Times are the model's: with --speed 60 a minute of its life takes a second, and all its delays,
limits and capacities follow. Without --seed whatever is drawn by chance is another each time; the
seed is printed.

Examples:
  exchange-model --listen 127.0.0.1:2526 --http 127.0.0.1:9182
  exchange-model --set 'capacity 20' --set 'scale 0.05' --speed 10
  exchange-model --set 'state unconfigured' --set 'at 10m state ok'    being rebuilt
  exchange-model --set 'disk 95%' --set 'at 90s disk ok'               no disk space at first
  exchange-model --set 'dismount DB2' --set 'at 6d mount DB2' --speed 3600
  exchange-model --scenario night.txt --until-delivered 8000
  curl -d 'state inactive' http://127.0.0.1:9182/command
  curl 'http://127.0.0.1:9182/mailboxes?address=ann@example.com'")]
struct Cli {
    /// Where it speaks SMTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2526")]
    listen: SocketAddr,
    /// Where it serves /metrics (as windows_exporter), /status, /mailboxes, /reports and /command
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// The mail server that takes its reports for the outside; without one they are only counted
    #[arg(long, value_name = "ADDRESS")]
    send_connector: Option<SocketAddr>,
    /// Its seconds in one of ours
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// For whatever is drawn by chance
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// A file of commands, one a line, carried out before it starts
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// A command, after those of the file; may be given again and again
    #[arg(long = "set", value_name = "COMMAND")]
    commands: Vec<String>,
    /// How often a line of status is written
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    every: u64,
    /// How long it runs; otherwise until it is interrupted, or `quit` is typed
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lifetime: Option<u64>,
    /// Ends when so many copies lie in mailboxes
    #[arg(long, value_name = "NUMBER")]
    until_delivered: Option<usize>,
    /// Lists the commands and ends
    #[arg(long)]
    list_commands: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=100_000.0).contains(&factor) { Ok(factor) } else { Err("between 0.01 and 100000".to_owned()) }
}

fn duration(text: &str) -> Result<u64, String> {
    match units::duration(text) {
        Some(ms) if ms > 0 => Ok(ms),
        _ => Err("for example: 500ms, 90s, 10m, 48h, 6d".to_owned()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list_commands {
        say(&format!("{}  at 90s disk ok                 any of them at its time\n", Server::help()));
        return ExitCode::SUCCESS;
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads it: nothing more can be done.
            let _ = writeln!(io::stderr(), "exchange-model: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(cli));
    // A thread that waits for standard input must not keep us.
    runtime.shutdown_background();
    result
}

async fn serve(cli: &Cli) -> io::Result<()> {
    let mut scenario = match &cli.scenario {
        Some(path) => fs::read_to_string(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?,
        None => String::new(),
    };
    for command in &cli.commands {
        scenario.push('\n');
        scenario.push_str(command);
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = cli.seed.unwrap_or_else(|| u64::from(since_1970.subsec_nanos()));
    let options = Options {
        listen: cli.listen,
        http: cli.http,
        send_connector: cli.send_connector,
        speed: cli.speed,
        seed,
        epoch_s: since_1970.as_secs().cast_signed(),
        scenario,
    };
    let model = Model::start(options).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot start at {} with these settings: {error}", cli.listen))
    })?;
    let web = model.http().map(|http| format!(", http://{http}/metrics")).unwrap_or_default();
    say(&format!(
        "listening on {}{web}, speed {}, seed {seed}; 'help' lists commands\n",
        model.address(),
        cli.speed
    ));
    watch(cli, &model).await?;
    say(&format!("{}\n", model.with(|server| server.summary())));
    Ok(())
}

/// Until it is over: a line of status now and then, and commands as they come.
async fn watch(cli: &Cli, model: &Model) -> io::Result<()> {
    let real = |ms: u64| Duration::from_secs_f64(ms as f64 / 1000.0 / cli.speed);
    let mut status = tokio::time::interval(real(cli.every).max(Duration::from_millis(10)));
    status.tick().await;
    let mut looking = tokio::time::interval(Duration::from_millis(20));
    let mut end = std::pin::pin!(tokio::time::sleep(cli.lifetime.map_or(Duration::MAX, real)));
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut commands = standard_input();
    loop {
        tokio::select! {
            _ = status.tick() => say(&format!("{}\n", model.with(|server| server.status_line()))),
            _ = looking.tick(), if cli.until_delivered.is_some() => {
                let delivered = model.with(|server| server.deliveries().len());
                if cli.until_delivered.is_some_and(|wanted| delivered >= wanted) {
                    return Ok(());
                }
            }
            Some(line) = commands.recv() => match line.as_str() {
                "" => {}
                "quit" => return Ok(()),
                "help" => say(&Server::help()),
                "status" => say(&format!("{}\n", model.with(|server| server.status_line()))),
                command => match model.command(command) {
                    Ok(text) if text.is_empty() => say("ok\n"),
                    Ok(text) => say(&format!("ok: {text}\n")),
                    Err(error) => say(&format!("error: {error}\n")),
                },
            },
            () = &mut end => return Ok(()),
            _ = interrupted.recv() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
        }
    }
}

/// Lines that are typed. Its end is not ours: a service has none.
fn standard_input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(100);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Writes to standard output, at once. If nobody reads it any more, the mail goes on.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
