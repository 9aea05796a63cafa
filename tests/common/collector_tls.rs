//! Certificates for collectors over TLS, and logs that are written to them.

#![allow(dead_code)] // Each test uses a part of it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keystead::config;
use keystead::log::Log;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A folder with the certificates of two authorities, `ours` and `theirs`.
pub struct Site(pub tempfile::TempDir);

impl Site {
    pub fn new() -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        for authority in ["ours", "theirs"] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([]).unwrap();
            params.distinguished_name.push(DnType::CommonName, authority);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            site.write(&format!("{authority}.pem"), &params.self_signed(&key).unwrap().pem());
            let issuer = Issuer::new(params, key);
            for (name, host, purpose) in [
                ("collector", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth),
                ("client", "orders", ExtendedKeyUsagePurpose::ClientAuth),
            ] {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::new([host.to_owned()]).unwrap();
                params.distinguished_name.push(DnType::CommonName, format!("{name} of {authority}"));
                params.extended_key_usages.push(purpose);
                let certificate = params.signed_by(&key, &issuer).unwrap();
                site.write(&format!("{authority}-{name}.pem"), &certificate.pem());
                site.write(&format!("{authority}-{name}.key"), &key.serialize_pem());
            }
        }
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The log of a configuration whose `[tls]` is for key servers; `more` stands in `[log]`.
    pub fn open(&self, port: u16, more: &str) -> Log {
        let text = format!(
            r#"
            client = {{ name = "orders" }}
            tls = {{ ca_certificate = "theirs.pem", client_certificate = "theirs-client.pem", client_key = "theirs-client.key" }}
            server = [{{ host = "kms1.example.com" }}]
            [log]
            target = "tls://127.0.0.1:{port}"
            on_failure = "refuse"
            {more}
            "#
        );
        let (config, _) = config::load(&self.write("keystead.conf", &text)).unwrap();
        Log::open(&config.log, &config.client_name).unwrap()
    }

    /// What a collector of `authority` demands.
    pub fn rules(&self, authority: &str, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let certificates = |name: &str| CertificateDer::from_pem_file(self.path(name)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&format!("{authority}.pem"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{authority}-collector.key"))).unwrap();
        let rules = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let chain = vec![certificates(&format!("{authority}-collector.pem"))];
        Arc::new(rules.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap())
    }
}

pub const OURS: &str = r#"ca_certificate = "ours.pem"
            client_certificate = "ours-client.pem"
            client_key = "ours-client.key""#;

pub type Stream = StreamOwned<ServerConnection, TcpStream>;

pub fn accept(listener: &TcpListener, rules: &Arc<ServerConfig>) -> Stream {
    let socket = listener.accept().unwrap().0;
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(ServerConnection::new(rules.clone()).unwrap(), socket)
}
