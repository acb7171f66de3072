//! What can be broken: one [`vocabulary`], with the crash [`points`] that it knows by name. A real process can
//! be made to die of a [`crash`].

pub mod crash;
pub mod points;
pub mod vocabulary;
