//! What the enriched `ecs` shape adds beyond the vendor's fields, as far as it is derived from texts of the record.

/// Version of the Elastic Common Schema whose field names are used.
pub(super) const ECS_VERSION: &str = "8.17.0";

/// The parts of an Azure Resource Manager id. Parts that the id lacks are empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ArmId<'a> {
    pub(super) subscription: &'a str,
    pub(super) group: &'a str,
    /// Namespace, as in `Microsoft.Network`.
    pub(super) provider: &'a str,
    /// Name of the resource itself: the last segment.
    pub(super) name: &'a str,
    pub(super) virtual_network: &'a str,
    pub(super) subnet: &'a str,
    pub(super) network_interface: &'a str,
}

impl<'a> ArmId<'a> {
    /// Reads `/subscriptions/S/resourceGroups/G/providers/P/TYPE/NAME[/TYPE/NAME]`, in any case.
    pub(super) fn parse(id: &'a str) -> Self {
        let mut parts = Self::default();
        let mut segments = id.trim_matches('/').split('/');
        while let Some(kind) = segments.next() {
            let Some(name) = segments.next() else { break };
            let part = match kind.to_ascii_lowercase().as_str() {
                "subscriptions" => &mut parts.subscription,
                "resourcegroups" => &mut parts.group,
                "providers" => {
                    parts.provider = name;
                    continue;
                }
                "virtualnetworks" => &mut parts.virtual_network,
                "subnets" => &mut parts.subnet,
                "networkinterfaces" => &mut parts.network_interface,
                _ => &mut parts.name,
            };
            *part = name;
            if !parts.provider.is_empty() {
                parts.name = name;
            }
        }
        parts
    }
}

/// The last segment of a resource id; empty where the text is no resource id.
pub(super) fn last_segment(id: &str) -> &str {
    id.rsplit_once('/').map_or("", |(_, name)| name)
}

/// The region in the name of the network watcher that a flow log belongs to: `NetworkWatcher_westeurope`. Lower case,
/// empty where there is none.
pub(super) fn region(flow_log_resource_id: &str) -> String {
    const PREFIX: &str = "networkwatcher_";
    let lower = flow_log_resource_id.to_ascii_lowercase();
    let watcher = lower.split('/').find_map(|segment| segment.strip_prefix(PREFIX));
    watcher.and_then(|name| name.split('_').next()).unwrap_or_default().to_owned()
}

/// What kind of rule it is, by its name's prefix; empty where the name does not tell.
pub(super) fn rule_category(rule: &str) -> &'static str {
    const PREFIXES: [(&str, &str); 5] = [
        ("defaultrule", "default"),
        ("userrule", "user"),
        ("platformrule", "platform"),
        ("adminrule", "admin"),
        ("unspecified", "unspecified"),
    ];
    let starts_with = |prefix: &str| {
        rule.get(..prefix.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
    };
    PREFIXES.iter().find(|(prefix, _)| starts_with(prefix)).map_or("", |(_, category)| category)
}

/// IANA's name of a protocol, in lower case ("Assigned Internet Protocol Numbers"); empty for rare ones.
pub(super) fn transport(protocol: u8) -> &'static str {
    match protocol {
        1 => "icmp",
        2 => "igmp",
        4 => "ipv4",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        88 => "eigrp",
        89 => "ospfigp",
        103 => "pim",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        _ => "",
    }
}

/// `112233aabbcc` as ECS wants it, `11-22-33-AA-BB-CC`; empty where the text is anything else.
pub(super) fn mac(text: &str) -> String {
    if text.len() != 12 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return String::new();
    }
    let mut shown = String::with_capacity(17);
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && index % 2 == 0 {
            shown.push('-');
        }
        shown.push(digit.to_ascii_uppercase());
    }
    shown
}

/// Whether the flow was encrypted; `None` where the text does not tell.
pub(super) fn is_encrypted(encryption: &str) -> Option<bool> {
    match encryption {
        "X" => Some(true),
        _ if encryption == "NX" || encryption.starts_with("NX_") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: ids of a virtual network, a subnet, a network interface, and texts that are none. Guarantees: each
    /// part is found whatever the case, and nothing is invented.
    #[test]
    fn resource_ids() {
        let network = "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vnet";
        let base = ArmId {
            subscription: "s-1",
            group: "rg",
            provider: "Microsoft.Network",
            name: "vnet",
            virtual_network: "vnet",
            ..ArmId::default()
        };
        let nic = "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.NETWORK/NETWORKINTERFACES/NIC";
        let cases = [
            (network.to_owned(), base),
            (format!("{network}/subnets/blue"), ArmId { name: "blue", subnet: "blue", ..base }),
            (
                nic.to_owned(),
                ArmId {
                    subscription: "S",
                    group: "G",
                    provider: "MICROSOFT.NETWORK",
                    name: "NIC",
                    network_interface: "NIC",
                    ..ArmId::default()
                },
            ),
            (String::new(), ArmId::default()),
            ("unspecified".to_owned(), ArmId::default()),
        ];
        for (id, expected) in &cases {
            assert_eq!(ArmId::parse(id), *expected, "{id}");
        }
    }

    /// Scenario: names as they occur. Guarantees: the derived text, or nothing.
    #[test]
    fn derived_texts() {
        let watcher =
            "/SUBSCRIPTIONS/S/RESOURCEGROUPS/NETWORKWATCHERRG/PROVIDERS/MICROSOFT.NETWORK/NETWORKWATCHERS/";
        assert_eq!(region(&format!("{watcher}NETWORKWATCHER_EASTUS2/FLOWLOGS/LOG")), "eastus2");
        assert_eq!(region("/S_NETWORKWATCHERRG/NETWORKWATCHER_WESTEUROPE_MY_LOG"), "westeurope");
        assert_eq!(region(""), "");
        assert_eq!(rule_category("DefaultRule_AllowInternetOutBound"), "default");
        assert_eq!(rule_category("UserRule_x"), "user");
        assert_eq!(rule_category("PlatformRule"), "platform");
        assert_eq!(rule_category("unspecified"), "unspecified");
        assert_eq!(rule_category("Internet"), "");
        assert_eq!(last_segment("/a/b/nsg-1"), "nsg-1");
        assert_eq!(last_segment("00000000-0000-0000-0000-000000000000"), "");
        assert_eq!(mac("0022482f8D3A"), "00-22-48-2F-8D-3A");
        assert_eq!(mac("00-22-48-2F-8D-3A"), "");
        assert_eq!(is_encrypted("NX_FALLBACK"), Some(false));
        assert_eq!(is_encrypted("X"), Some(true));
        assert_eq!(is_encrypted("other"), None);
    }
}
