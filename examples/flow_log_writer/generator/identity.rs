//! Who writes: flow-log resources and the network interfaces below them, with their names in every spelling that
//! Azure uses.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use fastrand::Rng;

use super::{
    kind::Kind,
    nic::Plan,
    shape::{Shape, pick},
};

/// One network interface as one flow-log resource sees it.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The blob name before `/y=`.
    root: String,
    /// As in the blob name: upper case.
    mac: String,
    /// As in the records.
    pub(crate) mac_in_records: String,
    /// `flowLogGUID`, or `systemId`.
    pub(crate) guid: String,
    /// `flowLogResourceID`, or the network security group's `resourceId`.
    pub(crate) flow_log: String,
    /// `targetResourceID`: a virtual network, a subnet or a network interface.
    pub(crate) target: String,
    /// Values of `aclID`.
    pub(crate) acls: Vec<String>,
}

impl Identity {
    /// The `index`th interface, below the root `index % roots`.
    pub(crate) fn new(rng: &mut Rng, plan: Plan, index: u64) -> Self {
        let Plan { seed, roots, kind, shape, .. } = plan;
        let root = Root::new(seed, index % roots.max(1), kind);
        // Two flow-log resources may cover the same interface.
        let twin = shape == Shape::Hostile && index == 1 && roots > 1;
        let mac = format!("002248{:06X}", 0x2F_8D3A + if twin { 0 } else { index });
        let mac_in_records = if rng.bool() { mac.clone() } else { mac.to_lowercase() };
        let group = format!("{}/resourceGroups/rg-{}", root.subscription_path(), root.name);
        let network = format!("{group}/providers/Microsoft.Network/virtualNetworks/vnet-{}", root.name);
        let target = match index % 3 {
            0 => network,
            1 => format!("{network}/subnets/snet-{index}"),
            _ => format!("{group}/providers/Microsoft.Network/networkInterfaces/nic-{index}"),
        };
        let acls = vec![
            guid(rng),
            format!("{group}/providers/Microsoft.Network/networkSecurityGroups/nsg-{index}"),
            "00000000-0000-0000-0000-000000000000".to_owned(),
            "unspecified".to_owned(),
        ];
        Self {
            mac,
            mac_in_records,
            guid: root.guid.clone(),
            flow_log: root.resource_id(),
            root: root.path(),
            target,
            acls,
        }
    }

    /// Full name of the blob for the hour that contains `moment`.
    pub(crate) fn blob_name(&self, moment: DateTime<Utc>) -> String {
        let Self { root, mac, .. } = self;
        let (year, month, day, hour) = (moment.year(), moment.month(), moment.day(), moment.hour());
        format!("{root}/y={year:04}/m={month:02}/d={day:02}/h={hour:02}/m=00/macAddress={mac}/PT1H.json")
    }
}

/// A flow-log resource.
struct Root {
    kind: Kind,
    number: u64,
    subscription: String,
    guid: String,
    region: &'static str,
    name: String,
}

impl Root {
    fn new(seed: u64, number: u64, kind: Kind) -> Self {
        let mut rng = Rng::with_seed(seed ^ number.wrapping_add(1).wrapping_mul(0xD6E8_FEB8_6659_FD93));
        Self {
            kind,
            number,
            subscription: guid(&mut rng),
            guid: guid(&mut rng),
            region: pick(&mut rng, ["westeurope", "eastus2", "francecentral", "swedencentral"]),
            name: format!("flows-{number}"),
        }
    }

    fn subscription_path(&self) -> String {
        format!("/subscriptions/{}", self.subscription)
    }

    fn resource_id(&self) -> String {
        let Self { region, name, .. } = self;
        if self.kind.is_nsg() {
            let group = format!("{}/resourceGroups/rg-{name}", self.subscription_path());
            return format!("{group}/providers/Microsoft.Network/networkSecurityGroups/nsg-{name}")
                .to_uppercase();
        }
        format!(
            "{}/resourceGroups/NetworkWatcherRG/providers/Microsoft.Network/networkWatchers/NetworkWatcher_{region}\
             /flowLogs/{name}",
            self.subscription_path()
        )
        .to_uppercase()
    }

    /// Both documented spellings of the path: the short one for even roots, the resource id for odd ones. Network
    /// security groups have only the latter.
    fn path(&self) -> String {
        if self.kind.is_nsg() {
            format!("resourceId={}", self.resource_id())
        } else if self.number.is_multiple_of(2) {
            let Self { subscription, region, name, .. } = self;
            let short = format!("{subscription}_networkwatcherrg/networkwatcher_{region}_{name}");
            format!("flowLogResourceID=/{}", short.to_uppercase())
        } else {
            format!("flowLogResourceID={}", self.resource_id())
        }
    }
}

fn guid(rng: &mut Rng) -> String {
    let bits = rng.u128(..);
    let part = |from: u32, digits: u32| (bits >> from) & ((1 << (digits * 4)) - 1);
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        part(0, 8),
        part(32, 4),
        part(48, 3),
        part(60, 3),
        part(72, 12)
    )
}
