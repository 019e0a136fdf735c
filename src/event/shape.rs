//! The shapes of events, each for every kind of record.

use super::{
    EventFormat, RecordPlace, columns::ColumnsWriter, ecs::EcsWriter, flow::FlowWriter,
    nsg_ecs::NsgEcsWriter, nsg_flow::NsgFlowWriter, text,
};
use crate::{
    flowlog::{
        nsg_record::NsgVersion,
        nsg_tuple::NsgTuple,
        record::{GroupHead, Head},
        tuple::{FlowTuple, TupleError},
    },
    model::{EventId, Origin},
};

/// The kinds of tuples.
#[derive(Debug, Clone, Copy)]
pub(super) enum TupleKind {
    Vnet,
    Nsg(NsgVersion),
}

/// A tuple of either kind.
pub(super) enum Tuple<'a> {
    Vnet(FlowTuple<'a>),
    Nsg(NsgTuple<'a>),
}

impl TupleKind {
    /// The kind that a record's tuples have.
    pub(super) fn of(head: &Head<'_>) -> Self {
        match head {
            Head::Vnet(_) => Self::Vnet,
            Head::Nsg(head) => Self::Nsg(head.version),
        }
    }

    pub(super) fn parse(self, text: &str) -> Result<Tuple<'_>, TupleError> {
        match self {
            Self::Vnet => FlowTuple::parse(text).map(Tuple::Vnet),
            Self::Nsg(version) => NsgTuple::parse(text, version).map(Tuple::Nsg),
        }
    }
}

impl Tuple<'_> {
    pub(super) fn time_ms(&self) -> i64 {
        match self {
            Self::Vnet(tuple) => tuple.time_ms,
            Self::Nsg(tuple) => tuple.time_ms,
        }
    }
}

/// The writers of one shape.
#[derive(Debug)]
pub(super) enum Shape {
    Flow { vnet: Box<FlowWriter>, nsg: Box<NsgFlowWriter>, provenance: bool },
    Ecs { vnet: Box<EcsWriter>, nsg: Box<NsgEcsWriter>, columns: Option<Box<ColumnsWriter>> },
    Text,
}

impl Shape {
    pub(super) fn new(format: EventFormat, origin: &Origin, blob: &str) -> Self {
        match format {
            EventFormat::Flow { provenance } => {
                Self::Flow { vnet: Box::default(), nsg: Box::default(), provenance }
            }
            EventFormat::Ecs { enrich } | EventFormat::Columns { enrich } => Self::Ecs {
                vnet: Box::new(EcsWriter::new(enrich, origin, blob)),
                nsg: Box::new(NsgEcsWriter::new(enrich, origin, blob)),
                columns: matches!(format, EventFormat::Columns { .. }).then(Box::default),
            },
            EventFormat::Text => Self::Text,
        }
    }

    pub(super) fn begin_record(&mut self, head: &Head<'_>, place: &RecordPlace<'_>) {
        match (self, head) {
            (Self::Flow { vnet, .. }, Head::Vnet(head)) => vnet.begin_record(head),
            (Self::Flow { nsg, .. }, Head::Nsg(head)) => nsg.begin_record(head),
            (Self::Ecs { vnet, .. }, Head::Vnet(head)) => vnet.begin_record(head, place),
            (Self::Ecs { nsg, .. }, Head::Nsg(head)) => nsg.begin_record(head, place),
            (Self::Text, _) => {}
        }
    }

    pub(super) fn begin_group(&mut self, kind: TupleKind, group: &GroupHead<'_>) {
        match (self, kind) {
            (Self::Flow { vnet, .. }, TupleKind::Vnet) => vnet.begin_group(group),
            (Self::Flow { nsg, .. }, TupleKind::Nsg(_)) => nsg.begin_group(group),
            (Self::Ecs { vnet, .. }, TupleKind::Vnet) => vnet.begin_group(group),
            (Self::Ecs { nsg, .. }, TupleKind::Nsg(_)) => nsg.begin_group(group),
            (Self::Text, _) => {}
        }
    }

    /// What is the same at the beginning of all events of the group that was begun last.
    pub(super) fn shared(&self, kind: TupleKind) -> &[u8] {
        match (self, kind) {
            (Self::Flow { vnet, .. }, TupleKind::Vnet) => vnet.group(),
            (Self::Flow { nsg, .. }, TupleKind::Nsg(_)) => nsg.group(),
            (Self::Ecs { vnet, columns: None, .. }, TupleKind::Vnet) => vnet.message(),
            (Self::Ecs { .. } | Self::Text, _) => &[],
        }
    }

    /// Appends the event of a tuple of the record and group that were begun last, behind what is shared.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        tuple: &Tuple<'_>,
        rule: &str,
        id: EventId,
        place: &RecordPlace<'_>,
    ) {
        match tuple {
            Tuple::Vnet(tuple) => self.write_vnet(out, tuple, rule, id, place),
            Tuple::Nsg(tuple) => self.write_nsg(out, tuple, rule, id, place),
        }
    }

    /// The same for a tuple of virtual network flow logs.
    pub(super) fn write_vnet(
        &mut self,
        out: &mut Vec<u8>,
        tuple: &FlowTuple<'_>,
        rule: &str,
        id: EventId,
        place: &RecordPlace<'_>,
    ) {
        match self {
            Self::Flow { vnet, provenance: false, .. } => vnet.write(out, tuple, None),
            Self::Flow { vnet, provenance: true, .. } => vnet.write(out, tuple, Some((id, place))),
            Self::Ecs { vnet, columns: None, .. } => vnet.write(out, tuple, id),
            Self::Ecs { vnet, columns: Some(columns), .. } => columns.write(out, |out| {
                out.extend_from_slice(vnet.message());
                vnet.write(out, tuple, id);
            }),
            Self::Text => text::write(out, tuple, rule),
        }
    }

    fn write_nsg(
        &mut self,
        out: &mut Vec<u8>,
        tuple: &NsgTuple<'_>,
        rule: &str,
        id: EventId,
        place: &RecordPlace<'_>,
    ) {
        match self {
            Self::Flow { nsg, provenance, .. } => nsg.write(out, tuple, provenance.then_some((id, place))),
            Self::Ecs { nsg, columns: None, .. } => nsg.write(out, tuple, id),
            Self::Ecs { nsg, columns: Some(columns), .. } => {
                columns.write(out, |out| nsg.write(out, tuple, id));
            }
            Self::Text => text::write_nsg(out, tuple, rule),
        }
    }
}
