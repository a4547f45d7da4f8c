//! Users with exactly the permissions that the guide to production names.

const GUIDE: &str = include_str!("../../docs/production.md");
const PASSWORD: &str = "secret";

/// A user of a server that was started with [`crate::Options::documented_users`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Who emits and listens.
    Application,
    /// Who uses the commands that look for streams, too: it may `SCAN`.
    Operator,
}

impl User {
    pub(crate) const ALL: [Self; 2] = [Self::Application, Self::Operator];

    fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Operator => "operator",
        }
    }

    /// The rules as a server's configuration has them.
    pub(crate) fn rules(self, in_cluster: bool) -> String {
        let user = GUIDE
            .lines()
            .find_map(|line| line.strip_prefix("user streamer "))
            .unwrap();
        let mut code = GUIDE.split('`');
        let of_clusters = code.find(|code| code.starts_with("+cluster|slots ")).unwrap();
        let mut rules = format!("{} {user}", self.name());
        assert!(rules.contains(&format!(" >{PASSWORD} ")), "{rules}");
        if in_cluster {
            rules = format!("{rules} {of_clusters}");
        }
        if self == Self::Operator {
            rules.push_str(" +scan");
        }
        rules
    }

    /// The URL of a store, for this user.
    pub(crate) fn url(self, url: &str) -> String {
        url.replacen("://", &format!("://{}:{PASSWORD}@", self.name()), 1)
    }
}
