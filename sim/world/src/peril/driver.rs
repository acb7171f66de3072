//! Carries out, between two steps of the simulation, what happened to the roles' processes in them.

use turmoil::Sim;

use super::Perils;

/// What is to be done with one role's host.
enum Deed {
    Bury,
    Start,
}

impl Perils {
    /// Takes down the hosts of the dead and starts those whose time has come.
    pub fn carry_out(&self, sim: &mut Sim<'_>) {
        for role in shop::ROLES {
            // Not under the lock: what goes down with a host asks for it.
            match self.due(role, sim) {
                Some(Deed::Bury) => sim.crash(role),
                Some(Deed::Start) => sim.bounce(role),
                None => {}
            }
        }
    }

    fn due(&self, role: &'static str, sim: &mut Sim<'_>) -> Option<Deed> {
        let mut state = self.lock();
        state.now = sim.elapsed();
        let now = state.now;
        let life = state.life_mut(role)?;
        if life.is_dead() {
            if !life.buried {
                life.buried = true;
                return Some(Deed::Bury);
            }
            return life.restart_at.is_some_and(|at| at <= now).then_some(Deed::Start);
        }
        let latest = life.draining?;
        if sim.is_host_running(role) && now < latest {
            return None;
        }
        // It has drained, or has had its time.
        life.die(now);
        life.buried = true;
        Some(Deed::Bury)
    }
}
