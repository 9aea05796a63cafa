//! A configuration on disk, and what an error about it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use keystead::config::{self, Config, Finding};
use keystead::{Code, Error};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

pub const POLICIES: [&str; 2] = ["strict", "relaxed"];

/// A folder with certificates in which a configuration is written and loaded.
pub struct Site {
    pub folder: TempDir,
}

impl Site {
    pub fn new() -> Site {
        Site::below(&std::env::temp_dir())
    }

    pub fn below(parent: &Path) -> Site {
        let site = Site { folder: TempDir::new_in(parent).unwrap() };
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        site.write("ca.pem", &ca.self_signed(&ca_key).unwrap().pem(), 0o644);
        let issuer = Issuer::new(ca, ca_key);
        for (name, year) in [("crl.pem", 2080), ("ended-crl.pem", 2021)] {
            let list = CertificateRevocationListParams {
                this_update: date_time_ymd(2020, 1, 1),
                next_update: date_time_ymd(year, 1, 1),
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            site.write(name, &list.signed_by(&issuer).unwrap().pem().unwrap(), 0o644);
        }
        let soon = SystemTime::now() + Duration::from_secs(4);
        for (name, end) in [
            ("client", date_time_ymd(2080, 1, 1)),
            ("other", date_time_ymd(2080, 1, 1)),
            ("expired", date_time_ymd(2020, 1, 1)),
            ("ending", soon.into()),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, format!("{name} of orders"));
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = end;
            site.write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem(), 0o644);
            site.write(&format!("{name}.key"), &key.serialize_pem(), 0o600);
        }
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, mode);
        path
    }

    pub fn load(&self, text: &str) -> Result<(Config, Vec<Finding>), Error> {
        config::load(&self.write("keystead.conf", text, 0o600))
    }

    pub fn refused(&self, text: &str) -> Refusal {
        Refusal::of(self.load(text))
    }
}

/// What an error says, in the form that programs read.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
    file: Option<PathBuf>,
    line: Option<u64>,
    column: Option<u64>,
}

impl Refusal {
    pub fn of(result: Result<(Config, Vec<Finding>), Error>) -> Refusal {
        let error = result.expect_err("the configuration was accepted");
        let detail: serde_json::Value = serde_json::from_str(&error.detail()).unwrap();
        Refusal {
            code: error.code(),
            message: error.message().to_owned(),
            file: detail["file"].as_str().map(PathBuf::from),
            line: detail["line"].as_u64(),
            column: detail["column"].as_u64(),
        }
    }

    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Refusal {
        for word in words {
            assert!(self.message.contains(word), "{word:?} is not in: {}", self.message);
        }
        self
    }

    #[track_caller]
    pub fn is(&self, code: Code, file: &Path) -> &Refusal {
        assert_eq!(self.code, code, "{}", self.message);
        assert_eq!(self.file.as_deref(), Some(file), "{}", self.message);
        self.says(&[file.to_str().unwrap()])
    }

    #[track_caller]
    pub fn at(&self, line: u64, column: u64) -> &Refusal {
        assert_eq!((self.line, self.column), (Some(line), Some(column)), "{}", self.message);
        self.says(&[&format!("line {line}, column {column}")])
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Eleven lines; what a test adds begins at line 12.
pub fn minimal(policy: &str) -> String {
    format!(
        r#"[client]
name = "orders"
policy = "{policy}"

[tls]
ca_certificate = "ca.pem"
client_certificate = "client.pem"
client_key = "client.key"

[[server]]
host = "kms1.example.com"
"#
    )
}

pub fn ids(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.id).collect()
}
