"""Where a version's card is kept: its description, `cards/version-N.md` of its run, `README.md` of its logged model.

The card follows from the registry, so a card that could not be written costs nothing but itself: the next one replaces it.
"""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from registry.client import holders, version_of
from registry.model_card import CardMaterial, description, model_card
from registry.model_facts import ATTRIBUTION_FILE, fetch_facts
from registry.version_records import has_run, logged_model_id, records
from stage.errors import ViewforgeError
from stage.files import write_text
from stage.secrets import redacted

CARD_FILE = "README.md"


def card_of(client: MlflowClient, model: str, number: str, folder: Path) -> str:
    """A version's card as the registry is now.

    Args:
        client: the registry's.
        model: the registered model.
        number: of the version.
        folder: where its facts and its attribution are downloaded to.

    Raises:
        InputError: when there is no such version.
    """
    return model_card(_material(client, model, number, folder))


def _material(client: MlflowClient, model: str, number: str, folder: Path) -> CardMaterial:
    version = version_of(client, model, number)
    aliases = tuple(sorted(alias for alias, held in holders(client, model).items() if held == number))
    run = client.get_run(str(version.run_id)) if has_run(client, version) else None
    record = next(iter(records(client, version)), None) if run else None
    facts = fetch_facts(client, version, folder) if run else {}
    return CardMaterial(version, facts, record, run, aliases)


def publish_cards(client: MlflowClient, model: str, numbers: Iterable[str | None]) -> bool:
    """Write the cards of versions anew; what cannot be written is said in one line, and stops nobody.

    Args:
        client: the registry's.
        model: the registered model.
        numbers: of the versions; None is passed over.

    Returns:
        Whether all were written.
    """
    whole = True
    for number in dict.fromkeys(filter(None, numbers)):
        try:
            _publish(client, model, number)
        except (MlflowException, ViewforgeError, OSError) as error:
            whole = False
            reason = redacted((str(error).splitlines() or [type(error).__name__])[0])
            print(
                f"card: that of {model} version {number} is not written ({reason}); run viewforge card {number} --write",
                file=sys.stderr,
                flush=True,
            )
    return whole


def _publish(client: MlflowClient, model: str, number: str) -> None:
    with tempfile.TemporaryDirectory(prefix="viewforge-card-") as name:
        folder = Path(name)
        material = _material(client, model, number, folder)
        card = model_card(material)
        client.update_model_version(model, number, description(card))
        if material.run:
            client.log_text(material.run.info.run_id, card, f"cards/version-{number}.md")
        if model_id := logged_model_id(material.version):
            write_text(folder / CARD_FILE, card)
            for path in (folder / CARD_FILE, *folder.rglob(ATTRIBUTION_FILE)):
                client.log_model_artifact(model_id, str(path))
