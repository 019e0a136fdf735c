//! An HTTP proxy on loopback: tunnels for `CONNECT`, and requests with a whole URL. It keeps what it was asked.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

/// A running proxy. It ends with the value.
#[derive(Debug)]
pub(crate) struct ForwardProxy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl ForwardProxy {
    /// Lets everybody through, or only who sends this `Proxy-Authorization`.
    pub(crate) async fn start(authorization: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let gate =
            Arc::new(Gate { authorization: authorization.map(str::to_owned), seen: Arc::clone(&seen) });
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let gate = Arc::clone(&gate);
                // A connection that either side drops is no concern of the proxy's.
                tokio::spawn(async move { gate.serve(stream).await.ok() });
            }
        });
        Self { address, seen, task }
    }

    /// `http://127.0.0.1:PORT`, with what stands before the host (`USER:PASSWORD@`).
    pub(crate) fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}{}", self.address)
    }

    /// Method and target of every request, in the order of their arrival.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Gate {
    authorization: Option<String>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut client = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            client.read_line(&mut line).await?;
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let Some((first, headers)) = lines.split_first() else { return Ok(()) };
        let words: Vec<&str> = first.split(' ').collect();
        let (method, target) = (words[0], words[1]);
        self.seen.lock().unwrap().push(format!("{method} {target}"));

        let authorization = headers.iter().find_map(|header| {
            let (name, value) = header.split_once(": ")?;
            name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
        });
        if self.authorization.is_some() && authorization != self.authorization {
            let refusal = "HTTP/1.1 407 scripted\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return client.write_all(refusal.as_bytes()).await;
        }
        if method == "CONNECT" {
            let mut server = TcpStream::connect(target).await?;
            client.write_all(b"HTTP/1.1 200 scripted\r\n\r\n").await?;
            copy_bidirectional(&mut client, &mut server).await?;
            return Ok(());
        }
        let url = Url::parse(target).unwrap();
        let mut server = TcpStream::connect(&*url.socket_addrs(|| None)?).await?;
        let path = &url[url::Position::BeforePath..];
        // One request a connection: the server closes it, and says so to the client.
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for header in headers {
            let name = header.to_ascii_lowercase();
            if !name.starts_with("proxy-") && !name.starts_with("connection") {
                head.push_str(&format!("{header}\r\n"));
            }
        }
        head.push_str("\r\n");
        server.write_all(head.as_bytes()).await?;
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }
}
