//! nginx as it stands before many receivers: it ends TLS and hands requests on.

use std::{fs, time::Duration};

use tempfile::TempDir;
use url::Url;

use super::{
    programs::{self, ReservedPort, SystemServer},
    tls::Certificates,
    wait,
};

/// A request is logged right after its answer, unless the machine is busy.
const LOG_DEADLINE: Duration = Duration::from_secs(30);

/// A running nginx. It ends with the value.
#[derive(Debug)]
pub(crate) struct Nginx {
    server: Option<SystemServer>,
    port: ReservedPort,
    upstream: Url,
    directory: TempDir,
    /// Its certificate, and one that it takes from clients.
    pub(crate) certificates: Certificates,
}

impl Nginx {
    /// Starts one before `upstream`. `settings` come into its `server` block; `ca.pem` is the authority's certificate.
    pub(crate) async fn start(upstream: &Url, settings: &str) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let certificates = Certificates::new();
        certificates.write_to(directory.path());
        fs::write(directory.path().join("ca.pem"), &certificates.ca_pem).unwrap();
        let port = ReservedPort::new();
        let mut nginx = Self { server: None, port, upstream: upstream.clone(), directory, certificates };
        nginx.start_again(settings).await;
        nginx
    }

    /// Starts it on the same port as before, with these settings. It must not be running.
    pub(crate) async fn start_again(&mut self, settings: &str) {
        assert!(self.server.is_none(), "nginx is running");
        let text = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log info;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n\
             log_format seen '$status $ssl_protocol $http_content_encoding $content_length';\n\
             access_log access.log seen;\n\
             client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
             scgi_temp_path scgi;\nuwsgi_temp_path uwsgi;\n\
             server {{\n\
             listen {} ssl;\nssl_certificate server.pem;\nssl_certificate_key server.key;\n{settings}\n\
             location / {{ proxy_pass {}; proxy_http_version 1.1; }}\n\
             }}\n}}\n",
            self.port.address,
            self.upstream.as_str().trim_end_matches('/'),
        );
        let [configuration, errors] =
            ["nginx.conf", "error.log"].map(|name| self.directory.path().join(name));
        fs::write(&configuration, text).unwrap();
        let program = programs::find("nginx", "nginx-light");
        let command = [
            program.to_str().unwrap(),
            "-p",
            self.directory.path().to_str().unwrap(),
            "-c",
            configuration.to_str().unwrap(),
            "-e",
            errors.to_str().unwrap(),
        ];
        self.server = Some(SystemServer::start(&command, &self.port, &errors).await);
    }

    /// Kills it. Connections break, and new ones are refused.
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    /// `https://127.0.0.1:PORT/`.
    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("https://{}/", self.port.address)).unwrap()
    }

    /// The first `n_requests` or more requests, in the order of their ends: status, TLS version, `Content-Encoding` and
    /// `Content-Length`, with spaces between; `-` where there is none.
    pub(crate) async fn requests(&self, n_requests: usize) -> Vec<String> {
        let enough = || Some(self.logged()).filter(|requests| requests.len() >= n_requests);
        let problem =
            || format!("{n_requests} requests are expected, these were logged: {:?}", self.logged());
        wait::until_some(LOG_DEADLINE, enough, problem).await
    }

    /// Those that were logged so far.
    pub(crate) fn logged(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("access.log")).unwrap();
        log.lines().map(str::to_owned).collect()
    }
}
