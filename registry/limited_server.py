"""MLflow's scoring server with a limit on what a request may weigh: `viewforge serve models:/viewforge-zero123@champion`.

MLflow's own reads a body whole before anybody looks at it, however long it is. Here one that is too long is answered with 413
before its end has come; all else, and every answer, is MLflow's (docs/serving.md).
"""

import mlflow
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from registry.body_limit import BodyLimit
from stage.errors import InputError

_REMEDY = "send fewer or smaller pictures"


def limited_server(model_uri: str, most_bytes: int, seconds: int) -> BodyLimit:
    """The scoring server of a model, loaded.

    How long a request may take is left in MLflow's variable, where server and model read it; a model that finds none there
    samples on after the server has given up.

    Args:
        model_uri: as MLflow knows it, `models:/name@alias` or a folder.
        most_bytes: of a request's body.
        seconds: that a request may take.

    Raises:
        InputError: when there is no such model.
    """
    MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.set(seconds)
    try:
        model = scoring_server.load_model_with_mlflow_config(model_uri)
        return BodyLimit(scoring_server.init(model), most_bytes, _REMEDY)
    except MlflowException as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(
            f"no model {model_uri} in MLflow at {mlflow.get_tracking_uri()}: {reason}", "check its name and alias"
        ) from error
