"""`viewforge weights`: public weights into pipeline folders of ours, and back into the original format."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.options import without_bars
from stage.errors import ParameterError


class System(StrEnum):
    """Whose weights."""

    ZERO123 = "zero123"
    ZERONVS = "zeronvs"


class Weights(StrEnum):
    """Which of a checkpoint's UNet weights."""

    EMA = "ema"
    RAW = "raw"


_SystemOption = Annotated[System, typer.Option(help="Whose weights they are.")]


def add_to(app: typer.Typer) -> None:
    """Add the subcommand with those below it."""
    group = typer.Typer(no_args_is_help=True, help="Download, import and export public weights.")
    group.command()(download)
    group.command("import")(import_)
    group.command()(export)
    app.add_typer(group, name="weights", rich_help_panel="Models")


def download(
    repository: Annotated[str, typer.Argument(help="owner/name on a Hugging Face hub (HF_ENDPOINT).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    revision: Annotated[str, typer.Option(help="Commit; of a branch or tag, the commit is recorded.")] = "main",
    file: Annotated[
        list[str] | None, typer.Option(help="Only this file, or files like this pattern; repeat for several.")
    ] = None,
) -> None:
    """Download weights at one commit; checked, resumed where it broke off, and from disk where there is no network."""
    from systems.hub import download as downloaded

    found = downloaded(repository, revision, output, tuple(file or ()))
    size = sum(each.size for each in found.files)
    print(f"download: {len(found.files)} files, {size:,} bytes, of {repository} at {found.commit}, in {output}")


def import_(
    source: Annotated[Path, typer.Argument(help="Checkpoint (.ckpt, .safetensors) or diffusers folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Pipeline folder to write.")],
    system: _SystemOption = System.ZERO123,
    config: Annotated[
        Path | None, typer.Option(help="LDM's YAML file of a checkpoint; the published network's if absent.")
    ] = None,
    weights: Annotated[Weights, typer.Option(help="A checkpoint's running mean, or the raw weights.")] = Weights.EMA,
    image_encoder: Annotated[
        Path | None, typer.Option(help="Folder of a CLIPVisionModelWithProjection, where the source has none.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Of a folder's files, such as fp16_ema.")] = None,
    ignore_class: Annotated[
        list[str] | None, typer.Option(help="Read past this class of a checkpoint without running it; repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the pose columns, when the source is image-variations.")] = 0,
    mode: Annotated[
        str | None, typer.Option(help="ZeroNVS' conditioning mode; the YAML file's if absent, or the released one.")
    ] = None,
) -> None:
    """Make a pipeline folder of published weights; nothing that the source brings along is run."""
    from systems.zero123.weights_import import ImportOptions, import_weights

    without_bars()
    options = ImportOptions(config, weights.value, image_encoder, variant, tuple(ignore_class or ()), seed)
    if system is System.ZERONVS:
        from systems.zeronvs.weights import import_weights as import_zeronvs

        record = import_zeronvs(source, output, options, mode)
    elif mode is not None:
        raise ParameterError(f"{system.value} has no conditioning modes", "leave out --mode, or give --system zeronvs")
    else:
        record = import_weights(source, output, options)
    step = f" at step {record['step']:,}" if record.get("step") else ""
    print(f"import: {system.value}{step} from {source}, in {output}")
    for name in record.get("read_past", ()):
        print(f"import: read past {name} without running it")


def export(
    model: Annotated[Path, typer.Argument(help="Pipeline folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.ckpt to write; FILE.yaml goes beside it.")],
    system: _SystemOption = System.ZERO123,
) -> None:
    """Write a pipeline as a checkpoint in the original (LDM) format, for threestudio or stable-dreamfusion."""
    if system is System.ZERONVS:
        from systems.zeronvs.weights import export_folder
    else:
        from systems.zero123.ldm_export import export_folder

    without_bars()
    export_folder(model, output)
    print(f"export: {system.value} in {output}, its configuration in {output.with_suffix('.yaml')}")
