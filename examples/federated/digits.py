"""The two sides of a federation: what each client does with its rows, and what the server does with their weights."""

import json
from pathlib import Path

import numpy as np
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.serverapp import ServerApp
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skbig import BigMLPClassifier
from skbig.components import SGD
from skbig.federated import client

N_CLIENTS = 3


def model():
    """What all have agreed on: estimator, parameters, features, classes."""
    network = BigMLPClassifier((32,), optimizer=SGD(momentum=0.0), learning_rate=0.5, batch_size=32, random_state=0)
    return network.initialize(n_features=64, classes=range(10))


def rows():
    """Return training and test rows; in life each client reads a file of its own."""
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, random_state=0, stratify=y)


def start_client(context):
    """Begin with the rows of one client: mostly four digits of the ten."""
    X, _, y, _ = rows()
    number = int(context.node_config["partition-id"])
    owner = np.where(np.random.RandomState(0).uniform(size=len(y)) < 0.6, y // 4, np.arange(len(y)) % N_CLIENTS)
    return client(model(), X[owner == number], y[owner == number], n_epochs=2)


def start_server(context):
    """Average the weights of all clients, and score the mean on rows that no client has."""
    _, X_test, _, y_test = rows()
    server, scores = model(), []

    def evaluate(number, weights, config):
        scores.append(server.set_weights(weights).score(X_test, y_test))
        Path(context.run_config["results"]).write_text(json.dumps(scores), encoding="utf-8")
        return 1.0 - scores[-1], {"score": scores[-1]}

    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=N_CLIENTS,
        min_available_clients=N_CLIENTS,
        evaluate_fn=evaluate,
        initial_parameters=ndarrays_to_parameters(server.get_weights()),
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=int(context.run_config["n-rounds"])))


client_app = ClientApp(client_fn=start_client)
server_app = ServerApp(server_fn=start_server)
