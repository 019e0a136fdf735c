"""Reads an ExportLogsServiceRequest in protobuf from standard input and writes it as OTLP's JSON: the public message
definitions are what decides."""

import json
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

request = ExportLogsServiceRequest.FromString(sys.stdin.buffer.read())
json.dump(MessageToDict(request, use_integers_for_enums=True), sys.stdout)
