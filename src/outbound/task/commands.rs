//! What outbound's task is told to do by the rest of the service.
//!
//! In: [`Command`]s. Out: what they change of the task's state; answers to those who asked. Never: waits for a viewer.

use super::Task;
use crate::api::Part;
use crate::outbound::active::Active;
use crate::outbound::source::{Source, Wanted};
use crate::outbound::{Command, Report, Sound, snapshot};
use crate::pipeline::Error;

impl Task {
    /// Does it.
    pub(super) async fn command(&mut self, command: Command) {
        match command {
            Command::Duck(ducked) => {
                self.ducked = ducked;
                self.apply_duck();
            }
            Command::Sources(wanted) => {
                let picture = |wanted: &[Wanted]| wanted.iter().find(|source| source.has_video()).cloned();
                if picture(&self.settings.wanted) != picture(&wanted) {
                    self.video_fault = None;
                }
                self.settings.wanted = wanted;
                if let Some(active) = &mut self.active {
                    active.feed(&self.settings);
                } else {
                    // What an earlier source left behind is no fault of the next one.
                    self.report(Report::Fault(Part::Video, None));
                    self.report(Report::Fault(Part::Audio, None));
                }
            }
            Command::Volume(factor) => {
                self.settings.volume = factor;
                self.apply_duck();
            }
            Command::Announce(sound, source, reply) => {
                let begun = self.announce(sound, source).await;
                reply.send(begun).ok();
            }
            Command::Announced(id) => {
                if let Some(active) = &mut self.active {
                    active.announced(id);
                }
            }
            Command::EndAnnouncements(reply) => {
                let ended = self.active.as_mut().map(Active::end_announcements).unwrap_or_default();
                // An answer nobody waits for any more is no fault.
                reply.send(ended).ok();
            }
            Command::Hold(purpose) => {
                self.holders.add(purpose);
                self.wake().await;
                self.encode();
            }
            Command::Release(purpose) => {
                self.holders.remove(purpose);
                self.encode();
                self.settle();
            }
            Command::Frame(wish) => self.frame(wish),
            Command::Quality(peer, quality) => {
                if let Some(state) = self.sending.choose(&peer, quality) {
                    // Encoders come and go at the next look, however often somebody changes his mind.
                    self.report(Report::Quality { peer, state });
                }
            }
            Command::Connected(peer, reply) => {
                self.awaited.retain(|(_, reply)| !reply.is_closed());
                self.awaited.push((peer, reply));
                self.tell_connected();
            }
            // A sender that has ended is replaced; a mixer that did not start is tried again.
            Command::Retry if self.broken => self.rebuild().await,
            Command::Retry if self.active.is_none() && self.is_wanted() => self.activate().await,
            #[cfg(test)]
            Command::Break("sender") => self.sending.sender.break_off(),
            #[cfg(test)]
            Command::Break(_) => {
                if let Some(active) = &self.active {
                    let pipeline = active.mixer.pipeline.inner();
                    gst::element_error!(pipeline, gst::CoreError::Failed, ["broken by a test"]);
                }
            }
            Command::Retry | Command::Stop(_) => {}
        }
    }

    /// Grants the wish for a frame, now or once capture runs; refuses it when the source turns out to have failed.
    fn frame(&mut self, wish: snapshot::Wish) {
        if let Some(reason) = &self.video_fault {
            return wish.refuse(reason);
        }
        self.wishes.retain(snapshot::Wish::is_open);
        self.wishes.push(wish.clone());
        if let Some(active) = &mut self.active {
            active.grant(wish);
        }
    }

    async fn announce(&mut self, sound: Sound, source: Source) -> Result<(), Error> {
        let Some(active) = &mut self.active else {
            return Err(Error::Input("nobody is listening: nothing was played".into()));
        };
        let own = self.own.clone();
        let done = move |id| {
            // Nobody is there any more only while the service stops.
            own.send(Command::Announced(id)).ok();
        };
        active.announce(sound, source, done).await
    }
}
