//! The verbs of the control connection: one table. A new verb is one row.

use std::fmt;

/// What a command means for data connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// No effect on data connections.
    Plain,
    /// Names an address that the server shall connect to.
    Active(ActiveForm),
    /// Asks for a port that the client shall connect to.
    Passive,
    /// Starts a transfer on the expected data connection.
    Transfer,
    /// Ends the transfer (RFC 959 §4.1.3).
    Abort,
    /// Ends the login; a transfer in progress may finish (RFC 959 §4.1.1).
    Leave,
    /// Negotiates protection (RFC 2228 §3, RFC 4217 §4).
    Protect,
    /// Carries a protected command (RFC 2228 §3): what it does cannot be read.
    Wrapped,
}

/// How an active command spells its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ActiveForm {
    /// `h1,h2,h3,h4,p1,p2` (RFC 959 §4.1.2).
    Port,
    /// `|1|a.b.c.d|p|` (RFC 2428 §2).
    Extended,
    /// `4,4,h1,…,2,p1,p2` (RFC 1639 §3).
    Long,
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $variant:ident $name:literal $role:expr;)*) => {
        /// A command's verb.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Verb {
            $($(#[$doc])* $variant,)*
            /// A verb that is not in this table.
            #[default]
            Other,
        }

        /// Every verb with its wire name and role.
        const TABLE: &[(Verb, &str, Role)] = &[$((Verb::$variant, $name, $role),)*];

        /// Keys of the table in its order.
        const KEYS: &[u32] = &[$(key($name.as_bytes()),)*];
    };
}

verbs! {
    /// RFC 959 §4.1.1.
    User "USER" Role::Plain;
    /// RFC 959 §4.1.1. Its argument is never kept.
    Pass "PASS" Role::Plain;
    /// RFC 959 §4.1.1.
    Acct "ACCT" Role::Plain;
    /// RFC 959 §4.1.1.
    Cwd "CWD" Role::Plain;
    /// RFC 959 §4.1.1.
    Cdup "CDUP" Role::Plain;
    /// RFC 959 §4.1.1.
    Smnt "SMNT" Role::Plain;
    /// RFC 959 §4.1.1.
    Rein "REIN" Role::Leave;
    /// RFC 959 §4.1.1.
    Quit "QUIT" Role::Leave;
    /// RFC 959 §4.1.2.
    Port "PORT" Role::Active(ActiveForm::Port);
    /// RFC 959 §4.1.2.
    Pasv "PASV" Role::Passive;
    /// No RFC: PASV, where a firewall on the way edits what it knows as PASV (Pure-FTPd takes it).
    Pasw "P@SW" Role::Passive;
    /// RFC 959 §4.1.2.
    Type "TYPE" Role::Plain;
    /// RFC 959 §4.1.2.
    Stru "STRU" Role::Plain;
    /// RFC 959 §4.1.2.
    Mode "MODE" Role::Plain;
    /// RFC 959 §4.1.3.
    Retr "RETR" Role::Transfer;
    /// RFC 959 §4.1.3.
    Stor "STOR" Role::Transfer;
    /// RFC 959 §4.1.3.
    Stou "STOU" Role::Transfer;
    /// RFC 959 §4.1.3.
    Appe "APPE" Role::Transfer;
    /// RFC 959 §4.1.3.
    Allo "ALLO" Role::Plain;
    /// RFC 959 §4.1.3.
    Rest "REST" Role::Plain;
    /// RFC 959 §4.1.3.
    Rnfr "RNFR" Role::Plain;
    /// RFC 959 §4.1.3.
    Rnto "RNTO" Role::Plain;
    /// RFC 959 §4.1.3.
    Abor "ABOR" Role::Abort;
    /// RFC 959 §4.1.3.
    Dele "DELE" Role::Plain;
    /// RFC 959 §4.1.3.
    Rmd "RMD" Role::Plain;
    /// RFC 959 §4.1.3.
    Mkd "MKD" Role::Plain;
    /// RFC 959 §4.1.3.
    Pwd "PWD" Role::Plain;
    /// RFC 959 §4.1.3.
    List "LIST" Role::Transfer;
    /// RFC 959 §4.1.3.
    Nlst "NLST" Role::Transfer;
    /// RFC 959 §4.1.3.
    Site "SITE" Role::Plain;
    /// RFC 959 §4.1.3.
    Syst "SYST" Role::Plain;
    /// RFC 959 §4.1.3.
    Stat "STAT" Role::Plain;
    /// RFC 959 §4.1.3.
    Help "HELP" Role::Plain;
    /// RFC 959 §4.1.3.
    Noop "NOOP" Role::Plain;
    /// RFC 1639 §3.
    Lprt "LPRT" Role::Active(ActiveForm::Long);
    /// RFC 1639 §3.
    Lpsv "LPSV" Role::Passive;
    /// RFC 2228 §3, RFC 4217 §4.
    Auth "AUTH" Role::Protect;
    /// RFC 2228 §3.
    Adat "ADAT" Role::Protect;
    /// RFC 2228 §3.
    Ccc "CCC" Role::Plain;
    /// RFC 2228 §3.
    Pbsz "PBSZ" Role::Plain;
    /// RFC 2228 §3.
    Prot "PROT" Role::Plain;
    /// RFC 2228 §3.
    Mic "MIC" Role::Wrapped;
    /// RFC 2228 §3.
    Conf "CONF" Role::Wrapped;
    /// RFC 2228 §3.
    Enc "ENC" Role::Wrapped;
    /// RFC 2389 §3.
    Feat "FEAT" Role::Plain;
    /// RFC 2389 §4.
    Opts "OPTS" Role::Plain;
    /// RFC 2428 §2.
    Eprt "EPRT" Role::Active(ActiveForm::Extended);
    /// RFC 2428 §3.
    Epsv "EPSV" Role::Passive;
    /// RFC 2640 §4.1.
    Lang "LANG" Role::Plain;
    /// RFC 3659 §3.
    Mdtm "MDTM" Role::Plain;
    /// RFC 3659 §4.
    Size "SIZE" Role::Plain;
    /// RFC 3659 §7.
    Mlst "MLST" Role::Plain;
    /// RFC 3659 §7.
    Mlsd "MLSD" Role::Transfer;
    /// RFC 7151 §3.
    Host "HOST" Role::Plain;
    /// RFC 775: CDUP.
    Xcup "XCUP" Role::Plain;
    /// RFC 775: MKD.
    Xmkd "XMKD" Role::Plain;
    /// RFC 775: PWD.
    Xpwd "XPWD" Role::Plain;
    /// RFC 775: RMD.
    Xrmd "XRMD" Role::Plain;
    /// draft-somers-ftp-mfxx.
    Mfmt "MFMT" Role::Plain;
    /// draft-somers-ftp-mfxx.
    Mfct "MFCT" Role::Plain;
    /// draft-somers-ftp-mfxx.
    Mff "MFF" Role::Plain;
    /// draft-bryan-ftpext-hash.
    Hash "HASH" Role::Plain;
    /// draft-bryan-ftp-range.
    Rang "RANG" Role::Plain;
    /// draft-peterson-streamlined-ftp-command-extensions: free space.
    Avbl "AVBL" Role::Plain;
    /// No RFC: a checksum of a file, CRC-32.
    Xcrc "XCRC" Role::Plain;
    /// No RFC: the same, MD5.
    Xmd5 "XMD5" Role::Plain;
    /// No RFC: the same, SHA-1.
    Xsha "XSHA" Role::Plain;
    /// No RFC: the client's name and version.
    Clnt "CLNT" Role::Plain;
    /// No RFC: PASV where the server is the TLS client, for transfers between two servers.
    Cpsv "CPSV" Role::Passive;
    /// No RFC: says which end is the TLS client of a transfer between two servers.
    Sscn "SSCN" Role::Plain;
    /// No RFC (drftpd): announces the transfer before PASV; names a verb without being one.
    Pret "PRET" Role::Plain;
}

impl Verb {
    /// The verb of a command's first word, in any case (RFC 959 §5.3).
    #[must_use]
    pub fn parse(word: &[u8]) -> Self {
        let wanted = key(word);
        if wanted == NO_KEY {
            return Self::Other;
        }
        let row = KEYS.iter().position(|key| *key == wanted);
        row.and_then(|row| TABLE.get(row)).map_or(Self::Other, |(verb, ..)| *verb)
    }

    /// How many there are, with [`Verb::Other`].
    pub const COUNT: usize = TABLE.len() + 1;

    /// The name on the wire; `other` for a verb that is not in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("other", |(_, name, _)| name)
    }

    /// Every verb of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(verb, ..)| *verb)
    }

    /// Whether the command makes a data connection.
    #[must_use]
    pub fn transfers(self) -> bool {
        self.role() == Role::Transfer
    }

    /// Whether the command asks for a port that the client will connect to.
    #[must_use]
    pub fn asks_for_port(self) -> bool {
        self.role() == Role::Passive
    }

    pub(crate) fn role(self) -> Role {
        self.row().map_or(Role::Plain, |(_, _, role)| *role)
    }

    /// Whether anything depends on the argument. All others are forgotten byte by byte as they come: passwords are.
    pub(crate) fn argument_matters(self) -> bool {
        matches!(self.role(), Role::Active(_) | Role::Passive | Role::Protect) && self != Self::Adat
    }

    /// Whether the argument is the name of a user, or that of a file to transfer.
    pub(crate) fn names_something(self) -> bool {
        self == Self::User || self.transfers()
    }

    fn row(self) -> Option<&'static (Self, &'static str, Role)> {
        TABLE.get(usize::from(self as u8))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key that no verb has.
const NO_KEY: u32 = 0;

/// Three or four characters in one word, upper case; [`NO_KEY`] for anything else.
const fn key(word: &[u8]) -> u32 {
    match *word {
        [a, b, c] => pack([a, b, c, b' ']),
        [a, b, c, d] => pack([a, b, c, d]),
        _ => NO_KEY,
    }
}

const fn pack(word: [u8; 4]) -> u32 {
    let [a, b, c, d] = word;
    u32::from_be_bytes([a.to_ascii_uppercase(), b.to_ascii_uppercase(), c.to_ascii_uppercase(), d.to_ascii_uppercase()])
}
