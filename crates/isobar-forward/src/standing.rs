//! What of a listener outlives its rules?

use std::sync::Arc;

use isobar_plan::ForwardProxy;

use crate::Names;
use crate::users::Users;

/// What is known of the names and users of one listener. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Standing {
    pub(crate) names: Arc<Names>,
    pub(crate) users: Arc<Users>,
}

impl Standing {
    /// What is known of a listener, with what was known of the one before it: names that are looked up as before stay.
    #[must_use]
    pub fn next(last: Option<&Self>, listener: &ForwardProxy) -> Self {
        let fresh = || Arc::new(Names::new(listener.names.clone()));
        let same = last.filter(|last| *last.names.rules() == listener.names);
        Self {
            names: same.map_or_else(fresh, |last| Arc::clone(&last.names)),
            users: last.map_or_else(Arc::default, |last| Arc::clone(&last.users)),
        }
    }
}
