import pytest
from tiny_demo import demo_in

from msff.demo.network import demo_folder, load_demo
from msff.demo.predictor import Predictor
from msff.study.workspace import Workspace


@pytest.fixture(scope="session")
def demo_study(tmp_path_factory) -> Workspace:
    """A tiny study whose demonstration network is trained and was measured on three made-up photographs."""
    return demo_in(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def predictor(demo_study) -> Predictor:
    return load_demo(demo_folder(demo_study.root))
