//! How is Redis reached, be it one server, one that sentinels know, or a cluster?

use std::time::Duration;

use isobar_plan::{Secret, Store, StoreLayout};
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode,
};
use tokio::task::JoinSet;

/// How long it may take to connect, sentinels and handshakes included.
const CONNECT: Duration = Duration::from_secs(2);

/// A connection to it.
pub(crate) enum Link {
    /// To the server that has all keys.
    Server(MultiplexedConnection),
    /// To all servers of a cluster.
    Cluster(ClusterConnection),
}

impl Link {
    /// Connects.
    ///
    /// *Errors*: nobody answers as expected, in words.
    pub(crate) async fn open(settings: &Store) -> Result<Self, String> {
        let connected = tokio::time::timeout(CONNECT, Self::connect(settings)).await;
        let seconds = CONNECT.as_secs();
        let connected = connected.map_err(|_| format!("no connection within {seconds} s"))?;
        connected.map_err(|error| words(&error))
    }

    async fn connect(settings: &Store) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None);
        match &settings.layout {
            StoreLayout::Single => {
                let mut failed = None;
                for address in addresses(settings) {
                    match server(settings, address, &config).await {
                        Ok(connection) => return Ok(Self::Server(connection)),
                        Err(error) => failed = Some(error),
                    }
                }
                Err(failed.unwrap_or_else(|| RedisError::from(std::io::Error::other("no address"))))
            }
            StoreLayout::Sentinel { service } => {
                let mut client = sentinel(settings, service)?;
                let connection = client.get_async_connection_with_config(&config).await?;
                Ok(Self::Server(connection))
            }
            StoreLayout::Cluster => Ok(Self::Cluster(cluster(settings)?.get_async_connection().await?)),
        }
    }

    /// Runs commands, each of one key: to one server all at once, in a cluster to whoever has the key. *Returns* what was said to
    /// each, in their order.
    ///
    /// *Errors*: the connection is of no use any more.
    pub(crate) async fn run<T>(&mut self, commands: Vec<Cmd>) -> RedisResult<Vec<RedisResult<T>>>
    where
        T: FromRedisValue + Send + 'static,
    {
        match self {
            Self::Server(connection) => {
                let mut pipeline = redis::Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command);
                }
                pipeline.ignore_errors().query_async(connection).await
            }
            Self::Cluster(connection) => {
                let mut answers: Vec<_> = commands.iter().map(|_| None).collect();
                let mut running = JoinSet::new();
                for (index, command) in commands.into_iter().enumerate() {
                    let mut connection = connection.clone();
                    running.spawn(async move { (index, command.query_async::<T>(&mut connection).await) });
                }
                while let Some(Ok((index, answer))) = running.join_next().await {
                    if let Some(place) = answers.get_mut(index) {
                        *place = Some(answer);
                    }
                }
                let lost = || Err(RedisError::from(std::io::Error::other("no answer")));
                Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect())
            }
        }
    }
}

/// An error in words, without anything that was sent.
pub(crate) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        _ => error.to_string(),
    }
}

fn addresses(settings: &Store) -> impl Iterator<Item = ConnectionAddr> + '_ {
    settings.addresses.iter().map(|(host, port)| match settings.tls {
        None => ConnectionAddr::Tcp(host.to_string(), *port),
        Some(_) => ConnectionAddr::TcpTls {
            host: host.to_string(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
    })
}

/// Whose word is to be taken for a server's certificate; none: nothing is secured, or the system's.
fn certificates(settings: &Store) -> Option<TlsCertificates> {
    let tls = settings.tls.as_ref()?;
    tls.ca.as_ref().map(|_| TlsCertificates {
        client_tls: None,
        root_cert: Some(tls.pem.to_vec()),
    })
}

async fn server(
    settings: &Store,
    address: ConnectionAddr,
    config: &AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    let info = address.into_connection_info()?.set_redis_settings(login(settings));
    let client = client(settings, info)?;
    client.get_multiplexed_async_connection_with_config(config).await
}

fn client(settings: &Store, info: ConnectionInfo) -> RedisResult<Client> {
    match certificates(settings) {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn login(settings: &Store) -> RedisConnectionInfo {
    let info = RedisConnectionInfo::default()
        .set_db(settings.database.into())
        .set_lib_name("isobar", env!("CARGO_PKG_VERSION"));
    let Some(login) = &settings.login else { return info };
    let info = info.set_password(text(&login.password));
    match &login.user {
        Some(user) => info.set_username(user),
        None => info,
    }
}

/// A password as it is sent: what is not UTF-8 is no password of Redis.
fn text(secret: &Secret) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&secret.0)
}

fn sentinel(settings: &Store, service: &str) -> RedisResult<redis::sentinel::SentinelClient> {
    let mut builder = SentinelClientBuilder::new(addresses(settings), service, SentinelServerType::Master)?
        .set_client_to_redis_db(settings.database.into());
    if let Some(login) = &settings.login {
        builder = builder.set_client_to_redis_password(text(&login.password));
        if let Some(user) = &login.user {
            builder = builder.set_client_to_redis_username(user);
        }
    }
    if settings.tls.is_some() {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates(settings) {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build()
}

fn cluster(settings: &Store) -> RedisResult<ClusterClient> {
    let mut builder: ClusterClientBuilder = ClusterClient::builder(addresses(settings))
        .connection_timeout(CONNECT)
        .response_timeout(CONNECT)
        .retries(3);
    if let Some(login) = &settings.login {
        builder = builder.password(text(&login.password));
        if let Some(user) = &login.user {
            builder = builder.username(user);
        }
    }
    if settings.tls.is_some() {
        builder = builder.tls(TlsMode::Secure);
    }
    if let Some(certificates) = certificates(settings) {
        builder = builder.certs(certificates);
    }
    builder.build()
}
