"""A typed module from a schema: it imports, it is formatted, and it can be used."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys

import pytest

from falq.emulator.catalogue import ENTRIES, list_models
from falq.errors import ArgumentError
from falq.models import MODELS, ModelInput, ModelOutput
from falq.platform.schemas import ModelSchema, read_schema
from falq.platform.stub import write_stub

PARTS = "#/components/schemas/"
NASTY = {
    "components": {
        "schemas": {
            "In-put": {
                "type": "object",
                "description": 'Ends here """\nimport os',
                "required": ["from", "cb"],
                "x-fal-order-properties": ["cb"],
                "properties": {
                    "from": {
                        "type": "string",
                        "description": 'evil """\nimport os; os.system("x") \\',
                    },
                    "cb": {"type": "array", "items": {"$ref": f"{PARTS}Node"}},
                    "class": {"enum": ['a"""b', "c"]},
                    "3d": {
                        "type": "integer",
                        "exclusiveMinimum": 0,
                        "exclusiveMaximum": 4,
                        "default": 2,
                    },
                    "endpoint": {"type": "boolean"},
                    "image_urls": {"type": "array", "items": {"type": "string"}},
                    "str": {"nullable": True, "type": "number"},
                    "a very long name that nobody would write": {
                        "anyOf": [
                            {"type": "integer"},
                            {"type": "string"},
                            {"$ref": f"{PARTS}Node"},
                            {
                                "type": "array",
                                "items": {"type": "array", "items": {"$ref": f"{PARTS}Node"}},
                            },
                        ]
                    },
                    "mode": {
                        "enum": ["one mode that is long", "another one", "a third that is", None]
                    },
                    "far": {"$ref": "https://evil.example/x.json"},
                    "any": {},
                    "import os\nos.system('x')": {"type": "string"},
                    "import os; os.system('x')": {"type": "string"},
                },
            },
            "Node": {
                "title": "Node",
                "type": "object",
                "properties": {
                    "next": {"$ref": f"{PARTS}Node"},
                    "value": {"type": "number", "minimum": 0.5},
                },
            },
            "Out": {
                "type": "object",
                "required": ["files", "ok"],
                "properties": {
                    "files": {"type": "array", "items": {"$ref": f"{PARTS}F"}},
                    "ok": {"type": "boolean"},
                    "raw": {"type": "string"},
                    "mode": {"enum": ["x"], "type": "string"},
                    "more": {"type": "object"},
                    "node": {"$ref": f"{PARTS}Node"},
                    "marks": {"type": "array", "items": {"type": "boolean"}},
                },
            },
            "F": {"type": "object", "properties": {"url": {"type": "string"}}},
        }
    },
    "paths": {
        "/acme/3d/def": {
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": f"{PARTS}In-put"}}}
                }
            }
        },
        "/acme/3d/def/requests/{request_id}": {
            "get": {
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": f"{PARTS}Out"}}}}
                }
            }
        },
    },
}


def documents():
    found = {
        endpoint: list_models(f"endpoint_id={endpoint}&expand=openapi-3.0")["models"][0]["openapi"]
        for endpoint in ENTRIES
    }
    return found | {"acme/3d/def": NASTY}


STUBS = {
    endpoint: write_stub(read_schema(endpoint, document))
    for endpoint, document in documents().items()
}
BY_ENDPOINT = pytest.mark.parametrize("endpoint", STUBS)


@pytest.fixture
def load(tmp_path):
    """Import a stub as a module of its own."""
    loaded = []

    def load(endpoint):
        name = "stub_of_" + endpoint.replace("/", "_").replace("-", "_")
        path = tmp_path / f"{name}.py"
        path.write_text(STUBS[endpoint], encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        del sys.modules[name]


def classes_of(module):
    own = [one for one in vars(module).values() if isinstance(one, type)]
    [source] = [one for one in own if issubclass(one, ModelInput) and one is not ModelInput]
    [answer] = [one for one in own if issubclass(one, ModelOutput) and one is not ModelOutput]
    return source, answer


@BY_ENDPOINT
def test_a_stub_holds_imports_classes_and_names_of_types_and_nothing_else(endpoint):
    tree = ast.parse(STUBS[endpoint])
    kinds = {type(node) for node in tree.body[1:]}
    assert kinds <= {ast.ImportFrom, ast.ClassDef, ast.AnnAssign}
    modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert modules <= {"__future__", "collections.abc", "typing", "attrs", "falq.models"}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called <= {"frozen", "field", "Range"}


@BY_ENDPOINT
def test_a_stub_is_imported_and_is_for_its_endpoint(endpoint, load):
    source, answer = classes_of(load(endpoint))
    assert source.endpoint == endpoint
    assert source.output is answer
    assert answer.__name__ == f"{source.__name__}Output"


def test_a_stub_of_a_known_model_is_called_like_the_one_that_falq_has(load):
    names = {endpoint: classes_of(load(endpoint))[0].__name__ for endpoint in ENTRIES}
    assert names == {endpoint: kind.__name__ for endpoint, kind in MODELS.items()}


def test_a_stub_is_as_strict_and_as_tolerant_as_the_typed_models(load):
    source, answer = classes_of(load("fal-ai/flux/schnell"))
    module = sys.modules[source.__module__]
    size = module.ImageSize(width=640)
    given = source(prompt="a cat", image_size=size, num_images=2)
    expected = {"prompt": "a cat", "image_size": {"width": 640}, "num_images": 2}
    assert given.as_arguments() == expected
    with pytest.raises(ArgumentError) as caught:
        source(prompt="a", num_inference_steps=28, output_format="gif", image_size="huge")
    assert dict(caught.value.problems).keys() == {
        "num_inference_steps",
        "output_format",
        "image_size",
    }
    output = answer.read({"images": [{"url": "u", "depth": 8}], "seed": 3})
    assert (output.images[0].url, output.images[0].extra) == ("u", {"depth": 8})
    assert (output.seed, output.timings, output.has_nsfw_concepts) == (3, None, ())


def test_odd_names_become_names_that_python_can_say(load):
    source, answer = classes_of(load("acme/3d/def"))
    given = source(from_="a", cb=[{"next": {"value": 1}}], field_3d=3, str_=0.5, class_="x")
    assert given.as_arguments() == {
        "cb": [{"next": {"value": 1}}],
        "from": "a",
        "class": "x",
        "3d": 3,
        "str": 0.5,
    }
    with pytest.raises(ArgumentError) as caught:
        source(from_="a", cb=[{"next": {"value": 0.1}}], field_3d=4)
    assert dict(caught.value.problems) == {
        "cb[0].next.value": "is 0.1; give 0.5 or more",
        "3d": "is 4; give 3 or less",
    }
    output = answer.read({"files": [{"url": "x"}], "raw": "q", "node": {"next": {}}, "new": 1})
    assert (output.raw_, output.more, output.marks) == ("q", {}, ())
    assert (output.node.next.next, output.extra) == (None, {"new": 1})


def test_nothing_of_a_strangers_text_becomes_code():
    tree = ast.parse(STUBS["acme/3d/def"])
    assert "import os" in (ast.get_docstring(tree.body[-1]) or "")
    assert "os" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.Attribute)]


def test_objects_of_one_name_in_two_places_are_two_classes():
    def holding(name):
        return {"type": "object", "properties": {"size": {"properties": {name: {}}}}}

    whole = {
        "properties": {
            "a": holding("x"),
            "b": holding("y"),
            "c": {"allOf": [{"$ref": "#/$defs/P"}]},
        },
        "$defs": {"P": {"properties": {"z": {}}}},
    }
    text = write_stub(ModelSchema(endpoint="acme/two", input=whole))
    names = {node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    assert names == {"TwoA", "TwoASize", "TwoB", "TwoBSize", "P", "Two", "TwoOutput"}


def test_an_endpoint_that_is_none_is_refused():
    with pytest.raises(ArgumentError):
        write_stub(ModelSchema(endpoint='a/b"\nimport os', input={}))


@pytest.mark.slow
def test_stubs_are_formatted_and_linted(tmp_path):
    for number, text in enumerate(STUBS.values()):
        (tmp_path / f"stub_{number}.py").write_text(text, encoding="utf-8")
    ours = 'lint.isort.known-third-party=["falq"]'
    for command in (
        ["ruff", "format", "--isolated", "--no-cache", "--check"],
        ["ruff", "check", "--isolated", "--no-cache", "--config", ours, "--select", "E4,F,I,W,UP"],
    ):
        ran = subprocess.run(
            [sys.executable, "-m", *command, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
