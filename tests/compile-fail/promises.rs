// SPDX-License-Identifier: GPL-2.0
//~ E0200
//~ E0277
//! What a trait promises to the `unsafe` code behind it isn't promised without the word, nor for a
//! type of one's own.

/// No lock, no chain of notifiers, no object with a field.
pub struct Mine {
    /// Its field.
    pub field: u32,
}

#[cfg(misuse)]
mod promised {
    use super::Mine;
    use wgk::{
        field::HasField,
        lock::RwBackend,
        notifier::Event, //
    };

    impl RwBackend for Mine {} //^ E0200
    impl HasField<u32> for Mine {} //^ E0200
    impl Event for Mine {} //^ E0277
}
