//! `isobar demo limits`: who is refused, and who does not notice?
//!
//! A server, an engine in front of it, and users of whom one asks for too much. What is shown is what they were answered.

mod scene;
mod users;
mod view;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use crossterm::event::KeyCode;
use isobar_config::document::LimitAlgorithm;
use isobar_engine::{Engine, EngineOptions, Io};
use tokio::time::{MissedTickBehavior, interval, interval_at};

use self::scene::Scene;
use self::users::Users;
use self::view::Picture;
use super::screen::{Output, Surface};
use super::servers::Servers;
use super::{DRAIN, FRAME, LINE, WORKERS, output, plan, stop_signal};
use crate::arguments::{LimitsDemoOptions, LimitsScene};
use crate::failure::apply_reason;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// The next algorithm.
    Algorithm,
    /// Fair share comes or goes.
    Fairness,
    /// The next scene.
    Scene,
    /// The end.
    Quit,
}

impl Key {
    fn meaning(code: KeyCode) -> Option<Self> {
        match code {
            KeyCode::Char('a') => Some(Self::Algorithm),
            KeyCode::Char('f') => Some(Self::Fairness),
            KeyCode::Char('n') => Some(Self::Scene),
            KeyCode::Char('q') => Some(Self::Quit),
            _ => None,
        }
    }
}

/// Shows scenes until it is ended.
///
/// *Errors*: no port is free, or a thread cannot be had.
pub(super) async fn show(options: &LimitsDemoOptions) -> Result<()> {
    let listen = plan::free_address(options.listen.0)?;
    let scene = match options.scene {
        LimitsScene::Users => Scene::Users(options.algorithm),
        LimitsScene::FairShare => Scene::fair_share(options.unfair),
    };
    let free = ([127, 0, 0, 1], 0).into();
    let servers = Servers::start([free; 3], [scene::SERVICE; 3]).context("failed to start the servers")?;
    let server = servers.addresses()[0];
    let options_of_engine = EngineOptions {
        workers: WORKERS,
        io: Io::Epoll,
    };
    let engine = Engine::start(scene.plan(listen, server)?, options_of_engine, Box::new(|_| {}));
    let engine = engine.map_err(|error| anyhow!(apply_reason(&error)))?;
    let output = match options.json {
        true => Output::Stream,
        false => output(),
    };
    let mut surface = Surface::open(output, Key::meaning)?;
    let now = Instant::now();
    let mut show = Show {
        scene,
        listen,
        server,
        engine,
        users: Users::come(listen, scene.people()),
        began: now,
        algorithm: options.algorithm,
        json: options.json,
        end: options.duration.map(|duration| now + duration.duration()),
    };
    let outcome = show.run(&mut surface).await;
    let last = show.last();
    let Show { engine, users, .. } = show;
    drop(users);
    tokio::task::spawn_blocking(move || engine.drain(DRAIN))
        .await
        .context("failed to drain")?;
    surface.close(&last)?;
    outcome
}

/// A scene at work.
struct Show {
    scene: Scene,
    listen: SocketAddr,
    server: SocketAddr,
    engine: Engine,
    users: Users,
    /// When the scene began, or changed.
    began: Instant,
    /// How the limit counts, also while another scene is shown.
    algorithm: LimitAlgorithm,
    json: bool,
    end: Option<Instant>,
}

impl Show {
    async fn run(&mut self, surface: &mut Surface<Key>) -> Result<()> {
        let mut tick = match surface {
            Surface::Screen(_) => interval(FRAME),
            Surface::Plain(_) => interval_at(tokio::time::Instant::now() + LINE, LINE),
        };
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut stop = std::pin::pin!(stop_signal());
        loop {
            let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
            tokio::select! {
                _ = tick.tick() => self.draw(surface)?,
                () = tokio::time::sleep(left.unwrap_or(Duration::MAX)), if left.is_some() => return Ok(()),
                key = surface.key() => if self.press(key)? == Key::Quit {
                    return Ok(());
                },
                outcome = &mut stop => return outcome,
            }
        }
    }

    fn picture(&self) -> Picture {
        Picture {
            scene: self.scene,
            listen: self.listen,
            elapsed: self.began.elapsed(),
            users: self.users.seen(),
        }
    }

    fn draw(&self, surface: &mut Surface<Key>) -> Result<()> {
        let picture = self.picture();
        match surface {
            Surface::Screen(screen) => screen.draw(|width| picture.lines(width)),
            Surface::Plain(plain) if self.json => plain.line(&picture.json(view::Which::OneOfMany).to_string()),
            Surface::Plain(plain) => plain.line(&picture.line()),
        }
    }

    /// What is left to be read when all is over.
    fn last(&self) -> String {
        let picture = self.picture();
        match self.json {
            true => picture.json(view::Which::Last).to_string(),
            false => picture.summary(),
        }
    }

    fn press(&mut self, key: Key) -> Result<Key> {
        let next = match (key, self.scene) {
            (Key::Algorithm, Scene::Users(algorithm)) => {
                let mut from_here = LimitAlgorithm::OF_REQUESTS
                    .into_iter()
                    .cycle()
                    .skip_while(|other| *other != algorithm);
                self.algorithm = from_here.nth(1).unwrap_or(algorithm);
                Scene::Users(self.algorithm)
            }
            (Key::Fairness, Scene::FairShare(sharing)) => Scene::FairShare(sharing.other()),
            (Key::Scene, Scene::Users(_)) => Scene::fair_share(false),
            (Key::Scene, Scene::FairShare(_)) => Scene::Users(self.algorithm),
            _ => return Ok(key),
        };
        self.switch_to(next)?;
        Ok(key)
    }

    /// Goes on with another scene, or the same under other rules, without closing a connection.
    fn switch_to(&mut self, scene: Scene) -> Result<()> {
        let plan = scene.plan(self.listen, self.server)?;
        self.engine.apply(plan).map_err(|error| anyhow!(apply_reason(&error)))?;
        self.scene = scene;
        self.began = Instant::now();
        self.users = Users::come(self.listen, scene.people());
        Ok(())
    }
}
