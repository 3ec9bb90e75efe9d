"""The provider's GraphQL API on loopback, as far as its own client (runpod 1.10), SkyPilot 0.14.1 and cloudtune's Observer use it.

    python -m tests.rigs.runpod.emulator FOLDER        rig.py starts it, in the rig's namespaces

A real GraphQL server (graphql-core) over `schema.graphql`: an unknown field or a wrong argument is refused as there. Each resolver's
docstring names what it follows and what is assumed. Not emulated: CPU pods, endpoints, network volumes (SkyPilot asks for them at
rest.runpod.io, an address that cannot be changed).
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphql

from tests.rigs.machines import server
from tests.rigs.machines.faults import with_names
from tests.rigs.machines.provider import Refused
from tests.rigs.machines.server import Answer
from tests.rigs.runpod.cloud import API_PORT, Cloud, seconds
from tests.rigs.runpod.pod import Pod

SCHEMA = Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8")
ANYBODY = "anybody"  # no key at all: prices and stock can be read without one
_CALLS = {
    "podFindAndDeployOnDemand": "create",
    "podRentInterruptable": "create",
    "podTerminate": "destroy",
    "pod": "list",
    "gpuTypes": "search",
    "podStop": "state",
    "podResume": "state",
    "podBidResume": "state",
    "updateUserSettings": "user",
}
Row = dict[str, Any]


def schema_with(renamed: dict[str, str]) -> graphql.GraphQLSchema:
    """The schema, in which fields of replies have other names: who asks for the old one is refused."""
    schema = graphql.build_schema(SCHEMA)
    time_type = schema.type_map["DateTime"]
    assert isinstance(time_type, graphql.GraphQLScalarType)
    time_type.parse_value = seconds  # type: ignore[method-assign]
    time_type.parse_literal = lambda node, _variables=None: seconds(getattr(node, "value", None))  # type: ignore[method-assign]
    for kind in schema.type_map.values():
        if isinstance(kind, graphql.GraphQLObjectType) and not kind.name.startswith("__"):
            for old, new in renamed.items():
                if old in kind.fields:
                    kind.fields[new] = kind.fields.pop(old)
    return schema


def call_of(document: graphql.DocumentNode) -> str:
    """The name under which faults know a request: what its first field is about."""
    operation = next(one for one in document.definitions if isinstance(one, graphql.OperationDefinitionNode))
    field = operation.selection_set.selections[0]
    assert isinstance(field, graphql.FieldNode)
    if field.name.value == "myself":
        inner = field.selection_set.selections if field.selection_set else ()
        return "list" if any(isinstance(one, graphql.FieldNode) and one.name.value == "pods" for one in inner) else "user"
    return _CALLS.get(field.name.value, "keys")


class Api:
    """One resolver a root field; `info.context` is who asks: "account", the id of the pod whose key was used, or ANYBODY."""

    def __init__(self, cloud: Cloud, log: Callable[[str], None]) -> None:
        self.cloud, self.log = cloud, log
        self._schema = ({}, schema_with({}))
        self.root: dict[str, Callable[..., Any]] = {
            "myself": self.myself,
            "pod": self.pod,
            "gpuTypes": self.gpu_types,
            "podFindAndDeployOnDemand": self.rent,
            "podRentInterruptable": self.rent_spot,
            "podStop": self.stop,
            "podResume": self.resume,
            "podBidResume": self.resume,
            "podTerminate": self.terminate,
            "updateUserSettings": self.settings,
            "saveTemplate": self.save_template,
            "deleteTemplate": self.delete_template,
            "saveRegistryAuth": self.save_login,
            "updateRegistryAuth": self.update_login,
            "deleteRegistryAuth": self.delete_login,
        }

    def schema(self) -> graphql.GraphQLSchema:
        renamed = dict(self.cloud.faults.renamed)
        if self._schema[0] != renamed:
            self._schema = (renamed, schema_with(renamed))
        return self._schema[1]

    def answer(self, method: str, path: str, _query: dict[str, str], body: dict[str, Any], key: str) -> tuple[int, Answer]:
        """POST /graphql with {"query", "variables"}; the key as Bearer (runpod-python, api/graphql.py) or ?api_key= (runpodctl, api/query.go).

        A resolver's refusal is HTTP 200 with `errors`, an unknown key HTTP 401 (runpod-python, api/graphql.py). Assumed: a query that the
        schema does not know is HTTP 400, as Apollo's server has it.
        """
        try:
            if (method, path) != ("POST", "/graphql"):
                raise Refused(404, "NOT_FOUND", f"{method} {path} is not emulated")
            who = self.cloud.who(key) if key else ANYBODY
            try:
                document = graphql.parse(str(body.get("query")))
            except graphql.GraphQLSyntaxError as error:
                raise Refused(400, "GRAPHQL_PARSE_FAILED", error.message) from error
            schema = self.schema()
            if wrong := graphql.validate(schema, document):
                return 400, {"errors": [error.formatted for error in wrong]}
            call = call_of(document)
            self.log(f"{call} by {who}")
            if who == ANYBODY and call != "search":
                raise Refused(401, "UNAUTHENTICATED", "Unauthorized")
            return self._executed(schema, document, body.get("variables"), who, call)
        except Refused as refusal:
            return refusal.status, {"errors": [{"message": refusal.msg, "extensions": {"code": refusal.error}}]}

    def _executed(self, schema: Any, document: Any, variables: Any, who: str | int, call: str) -> tuple[int, Answer]:
        def run() -> graphql.ExecutionResult:
            return graphql.execute_sync(schema, document, self.root, who, variables)

        result = self.cloud.faulty(call, run)
        return 400 if result.data is None else 200, dict(result.formatted)

    # --- who may do what

    @staticmethod
    def _account(info: Any) -> None:
        if info.context != "account":
            raise Refused(200, "FORBIDDEN", "Unauthorized: this key may not do this")

    def _own(self, info: Any, pod_id: str) -> None:
        """docs.runpod.io/pods/templates/environment-variables: RUNPOD_API_KEY is "Pod-scoped". Assumed: for its own pod it may do all."""
        if info.context not in ("account", pod_id):
            raise Refused(200, "FORBIDDEN", "Unauthorized: this key belongs to another pod")

    # --- reading

    def _named(self, row: Row) -> Row:
        named: Row = with_names(row, self.cloud.faults.renamed)
        return named

    def _shown(self, pod: Pod) -> Row:
        return self._named(self.cloud.row(pod))

    def myself(self, info: Any) -> Row:
        """runpod-python, api/queries/pods.py and user.py; sky/provision/runpod/utils.py. A pod that was terminated is gone from the list.

        Assumed: that, and that a pod's own key sees nothing of the account.
        """
        self._account(info)
        templates = [{**one, "containerRegistryAuthId": one.get("containerRegistryAuthId")} for one in self.cloud.templates.values()]
        user = {"id": "user_rig", "pubKey": self.cloud.public_keys, "podTemplates": templates, "networkVolumes": []}
        with self.cloud.lock:
            pods = [self.cloud.row(pod) for pod in self.cloud.listed()]
        return self._named(user | {"pods": pods})

    def pod(self, info: Any, input: Row) -> Row | None:  # noqa: A002 - the argument's name in GraphQL
        """docs.runpod.io/sdks/graphql/manage-pods, "Get Pod by ID". Assumed: null for one that is not there."""
        self._own(info, input["podId"])
        with self.cloud.lock:
            try:
                return self._shown(self.cloud.find(input["podId"]))
            except Refused:
                return None

    def gpu_types(self, _info: Any, input: Row | None = None) -> list[Row]:  # noqa: A002
        """docs.runpod.io/sdks/graphql/manage-pods, "List GPU types" and "Check GPU type availability"; needs no key."""
        wanted = (input or {}).get("id")
        with self.cloud.lock:
            gpus = [gpu for gpu in self.cloud.gpus if wanted in (None, gpu.id)]
            return [self._named(gpu.row() | {"lowestPrice": self._lowest(gpu)}) for gpu in gpus]

    def _lowest(self, gpu: Any) -> Callable[..., Row]:
        def lowest_price(_info: Any, input: Row | None = None) -> Row:  # noqa: A002
            asked = input or {}
            free = self.cloud.most_free(gpu, asked.get("dataCenterId"), asked.get("countryCode"))
            found = gpu.lowest_price(free, count=asked.get("gpuCount") or 1, secure=asked.get("secureCloud"))
            return self._named(found)

        return lowest_price

    # --- pods

    def rent(self, info: Any, input: Row) -> Row:  # noqa: A002
        """docs.runpod.io/sdks/graphql/manage-pods, "Create on-demand Pod"; runpod-python, api/mutations/pods.py; runpodctl, api/pod.go.

        terminateAfter and stopAfter: RFC 3339, write-only (runpodctl, pull request 331). The provider said in August 2026 that they were
        accepted and never acted on (runpodctl, pull request 330): that is the fault `timers_ignored`; without it they are kept.
        Assumed: of the conditions only those on place, cloud, GPU, processors and memory matter; the cheaper cloud is taken for ALL.
        """
        self._account(info)
        return self._shown(self.cloud.create(dict(input)))

    def rent_spot(self, info: Any, input: Row) -> Row:  # noqa: A002
        """The same page, "Create spot Pod"; sky/provision/runpod/api/pods.py. Assumed: a bid below the lowest is refused as no capacity."""
        return self.rent(info, input)

    def stop(self, info: Any, input: Row) -> Row:  # noqa: A002
        """The same page, "Stop Pods": EXITED, the container disk is gone, the volume is kept and billed (docs.runpod.io/pods/pricing)."""
        self._own(info, input["podId"])
        return self._shown(self.cloud.stop(input["podId"]))

    def resume(self, info: Any, input: Row) -> Row:  # noqa: A002
        """The same page, "Start Pods", on demand and spot. Assumed: it keeps its public port; its GPUs may have gone to somebody else."""
        self._own(info, input["podId"])
        return self._shown(self.cloud.resume(input["podId"], input.get("gpuCount"), input.get("bidPerGpu")))

    def terminate(self, info: Any, input: Row) -> None:  # noqa: A002
        """runpod-python, api/mutations/pods.py: answers null. Assumed: an error for a pod that is not there."""
        self._own(info, input["podId"])
        if info.context != "account" and self.cloud.faults.deny_instance_key:
            raise Refused(200, "FORBIDDEN", "Unauthorized: a pod's key cannot terminate")
        self.cloud.destroy(input["podId"], by="account" if info.context == "account" else "instance")

    # --- the account

    def settings(self, info: Any, input: Row) -> Row:  # noqa: A002
        """runpod-python, api/mutations/user.py. Pods made from now on have the keys as PUBLIC_KEY, if they ask for startSsh."""
        self._account(info)
        self.cloud.public_keys = str(input.get("pubKey") or "")
        return self.myself(info)

    def save_template(self, info: Any, input: Row) -> Row:  # noqa: A002
        """runpod-python, api/mutations/templates.py. Assumed: a second one of the same name is refused."""
        self._account(info)
        with self.cloud.lock:
            if input["name"] in self.cloud.templates:
                raise Refused(200, "BAD_USER_INPUT", "Template name must be unique")
            made = {**input, "id": f"t{secrets.token_hex(5)}"}
            self.cloud.templates[input["name"]] = made
        return self._named(made)

    def delete_template(self, info: Any, templateName: str) -> None:  # noqa: N803
        """sky/provision/runpod/utils.py, delete_pod_template."""
        self._account(info)
        if self.cloud.templates.pop(templateName, None) is None:
            raise Refused(200, "NOT_FOUND", "Template not found")

    def save_login(self, info: Any, input: Row) -> Row:  # noqa: A002
        """runpod-python, api/mutations/container_register_auth.py. The password is not kept: no image is ever pulled."""
        self._account(info)
        made = f"r{secrets.token_hex(5)}"
        self.cloud.logins[made] = input["name"]
        return {"id": made, "name": input["name"]}

    def update_login(self, info: Any, input: Row) -> Row:  # noqa: A002
        """The same file."""
        self._account(info)
        if input["id"] not in self.cloud.logins:
            raise Refused(200, "NOT_FOUND", "Registry auth not found")
        return {"id": input["id"], "name": self.cloud.logins[input["id"]]}

    def delete_login(self, info: Any, registryAuthId: str) -> None:  # noqa: N803
        """The same file."""
        self._account(info)
        if self.cloud.logins.pop(registryAuthId, None) is None:
            raise Refused(200, "NOT_FOUND", "Registry auth not found")


if __name__ == "__main__":
    server.serve(Path(sys.argv[1]), API_PORT, Cloud, Api)
