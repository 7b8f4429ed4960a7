"""The adapters of the package: small, nobody's, and taught by the rows that are drawn again here."""

import pytest

from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.sample import SAMPLE_SEEDS, named_sample, person_of, sample_people
from openledger_node.errors import ConfigError
from openledger_node.factory.samples import SAMPLES, add_sample
from openledger_node.home import Home
from openledger_node.models.adapter_files.layout import read_layout
from openledger_node.models.adapters import artifact_digest, read_manifest
from openledger_node.models.bases import FAKE_BASE
from openledger_protocol.constants import DEMO_BASE_DIGEST
from openledger_protocol.errors import AdapterRefusedError

SIZE_BYTES_MAX = 1_000_000


@pytest.mark.parametrize("name", SAMPLE_SEEDS)
def test_a_sample_is_small_and_its_manifest_is_that_of_its_files_and_rows(name: str) -> None:
    folder, manifest = SAMPLES / name, read_manifest(SAMPLES / name)
    assert read_layout(folder).size_bytes <= SIZE_BYTES_MAX
    assert manifest.artifact_digest == artifact_digest(folder), "run scripts/make_samples.py again"
    assert (manifest.name, manifest.owner, manifest.base.digest) == (name, None, DEMO_BASE_DIGEST)
    assert [datanet.rows_root for datanet in manifest.datanets] == [rows_digest(named_sample(name).rows)]


def test_the_samples_have_six_contributors_with_names_and_accounts_of_their_own() -> None:
    people = sample_people()
    assert len(people) == len(set(people.values())) == 3 * len(SAMPLE_SEEDS)
    assert person_of("ansel-larkspur") == "Ansel Larkspur" in {person_of(name) for name in people.values()}


def test_a_sample_for_another_base_is_refused_with_the_base_to_name(home: Home) -> None:
    with pytest.raises(AdapterRefusedError, match="not on fake: give --base smollm2-135m-instruct"):
        add_sample(home, FAKE_BASE, "harbour")
    with pytest.raises(ConfigError, match="no sample is called 'lake': choose harbour or valley"):
        add_sample(home, FAKE_BASE, "lake")
