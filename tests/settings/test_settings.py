"""Settings: what is accepted, how files are merged and what is refused with which words."""

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from spacetime_tps.errors import ConfigError, OutputError, SpacetimeError
from spacetime_tps.settings.files import load_settings, merge, open_run, parse_settings, read_yaml
from spacetime_tps.settings.shipped import find_system, shipped_systems
from spacetime_tps.settings.surface import SurfaceRunSettings


def system_content() -> dict[str, Any]:
    """A system.yaml with one collective variable of each kind."""
    return {
        "system": {
            "name": "test",
            "structures": {"left": "left.pdb", "right": "right.pdb"},
            "force_field": ["amber99sbildn.xml", "own.xml"],
            "temperature": "300 K",
            "time_step": "1 fs",
            "friction": "1 / ps",
            "collective_variables": {
                "phi": {"dihedral": [0, 1, 2, 3]},
                "bend": {"angle": [0, 1, 2]},
                "end": {"distance": [0, "name C"]},
            },
            "states": {
                "A": {
                    "structure": "left",
                    "boxes": [{"phi": ["170 deg", "-170 deg"], "end": ["1 angstrom", "0.5 nm"]}],
                },
                "B": {"structure": "right", "boxes": [{"phi": ["0 deg", "20 deg"]}]},
            },
            "target": {"collective_variables": ["phi"], "tolerance": "0.75 rad"},
        },
        "samples": {
            "method": "replica_exchange",
            "temperatures": ["300 K", "400 K", "500 K"],
            "model_temperature": "500 K",
        },
    }


SAMPLES = [
    system_content()["samples"],
    {"method": "molecular_dynamics", "length": "20 ps"},
    {"method": "files", "trajectories": ["a.dcd", "b.dcd"], "weights": ["a.txt", "b.txt"]},
]


class TestRoundTrip:
    @pytest.mark.parametrize("samples", SAMPLES, ids=lambda samples: samples["method"])
    def test_written_settings_read_back_identically(self, samples):
        settings = parse_settings(system_content() | {"samples": samples}, "test")
        again = parse_settings(settings.model_dump(mode="json"), "test")
        assert again == settings
        assert again.model_dump(mode="json") == settings.model_dump(mode="json")

    @pytest.mark.parametrize("samples", SAMPLES, ids=lambda samples: samples["method"])
    def test_also_through_yaml_without_what_is_unset(self, samples):
        settings = parse_settings(system_content() | {"samples": samples}, "test")
        text = yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True), sort_keys=False)
        again = parse_settings(yaml.safe_load(text), "test")
        assert again == settings

    def test_values_are_in_the_units_of_the_package(self):
        settings = parse_settings(system_content(), "test")
        assert settings.system.time_step == pytest.approx(0.001)
        assert settings.samples.temperatures == (300.0, 400.0, 500.0)
        assert settings.system.collective_variables["end"].atoms == (0, "name C")
        assert [v.kind for v in settings.system.collective_variables.values()] == ["dihedral", "angle", "distance"]

    def test_settings_cannot_be_changed(self):
        settings = parse_settings(system_content(), "test")
        with pytest.raises(ValueError, match="frozen"):
            settings.system.temperature = 310.0

    @pytest.mark.parametrize("name", shipped_systems())
    def test_shipped_systems_are_valid(self, name):
        settings = load_settings(find_system(name))
        if isinstance(settings, SurfaceRunSettings):
            assert settings.surface.name == name
            assert settings.surface.grid is None or settings.surface.grid.is_file()
        else:
            assert settings.system.name == name
            assert all(path.is_file() for path in settings.system.structures.values())


def assign(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The content with the value at a dotted path replaced; None removes the key."""
    content = copy.deepcopy(content)
    *folders, last = path.split(".")
    place = content
    for folder in folders:
        place = place.setdefault(folder, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("system.temperatur", "300 K", r"system\.temperatur: unknown key; did you mean 'temperature'\?"),
        ("sampels", {}, r"sampels: unknown key; did you mean 'samples'\?"),
        ("geodesics.xyzzyq", 1, r"geodesics\.xyzzyq: unknown key$"),
        ("system.temperature", None, r"system\.temperature: is missing"),
        ("samples", None, "samples: is missing"),
        ("system.temperature", 300, r"system\.temperature: 300 has no unit"),
        ("system.temperature", "300 nm", r"system\.temperature: '300 nm' cannot be converted to kelvin"),
        ("system.temperature", "0 K", r"system\.temperature: '0 K': Input should be greater than or equal to 1 kelvin"),
        ("system.temperature", "nan K", r"system\.temperature: 'nan K' is not a number with a unit"),
        ("system.temperature", "6000 K", r"system\.temperature: '6000 K': .* less than or equal to 5000 kelvin"),
        ("system.time_step", "11 fs", r"system\.time_step: '11 fs': .* less than or equal to 0\.01 ps"),
        ("system.time_step", "-1 fs", r"system\.time_step: '-1 fs': .* greater than or equal to 0\.000001 ps"),
        ("system.friction", "2000 / ps", r"system\.friction: .* less than or equal to 1000 1/ps"),
        ("system.name", "a/b", r"system\.name: String should match pattern"),
        ("system.force_field", [], r"system\.force_field: Tuple should have at least 1 item"),
        (
            "system.states.B.structure",
            "rigth",
            r"states\.B\.structure: no structure 'rigth' \(there are: left, right\)",
        ),
        (
            "system.states.C",
            {"structure": "left", "boxes": [{"phi": ["0 deg", "1 deg"]}]},
            r"system\.states: Dictionary should have at most 2",
        ),
        (
            "system.states.A.boxes",
            [{"chi": ["0 deg", "1 deg"]}],
            r"states\.A\.boxes: no collective variable 'chi' \(there are: phi, bend, end\)",
        ),
        ("system.states.A.boxes", [{"phi": ["0 nm", "1 deg"]}], "'0 nm' cannot be converted to rad"),
        (
            "system.states.A.boxes",
            [{"end": ["0 nm", "1 m"]}],
            r"states\.A\.boxes: '1 m' is beyond what a distance can be",
        ),
        ("system.states.A.boxes", [{"phi": ["0 deg", "1e300 deg"]}], "'1e300 deg' is beyond what a dihedral can be"),
        (
            "system.collective_variables.phi.dihedral",
            [4, 6, 8, -1],
            r"system\.collective_variables\.phi\.dihedral\.3: Input should be greater than or equal to 0",
        ),
        ("system.target.tolerance", "0 rad", r"target\.tolerance must be more than 0"),
        ("system.time_step", "1e-300 fs", r"system\.time_step: '1e-300 fs': .* greater than or equal to 0\.000001 ps"),
        ("samples.length", "1e15 ps", r"samples\.length: '1e15 ps': .* less than or equal to 1000000000 ps"),
        ("samples.frame_interval", "1e-300 ps", r"samples\.frame_interval: '1e-300 ps': .* or equal to 0\.000001 ps"),
        ("paths.count", 10**12, r"paths\.count: Input should be less than or equal to 1000000"),
        ("geodesics.knots", 10**9, r"geodesics\.knots: Input should be less than or equal to 500"),
        ("denoiser.shrinkage", math.inf, r"denoiser\.shrinkage: Input should be a finite number"),
        ("system.states.A.boxes", [{"end": ["2 nm", "1 nm"]}], r"states\.A\.boxes: end has an empty interval"),
        ("system.target.collective_variables", ["chi"], "target: no collective variable 'chi'"),
        ("system.target.tolerance", "0.1 nm", "'0.1 nm' cannot be converted to rad"),
        (
            "system.collective_variables.phi",
            {"angle": [0, 1, 2], "distance": [0, 1]},
            r"collective_variables\.phi: a collective variable is exactly one of dihedral, angle or distance",
        ),
        ("samples.method", "metadynamics", "samples: Input tag 'metadynamics'"),
        ("samples.temperatures", ["300 K", "500 K", "400 K"], "samples: temperatures must rise"),
        ("samples.temperatures", ["300 K", "500 K", "500 K"], "samples: temperatures must rise"),
        ("samples.model_temperature", "450 K", "model_temperature 450 K is none of the replicas' temperatures"),
        ("samples.discard", "850 ps", "discard leaves no frames"),
        ("samples.length", "inf ps", r"samples\.length: 'inf ps' is not a number with a unit"),
        ("coordinates.template", "middle", r"coordinates\.template: no structure 'middle'"),
        ("geodesics.end_snr", "0.5 / nm**2", "end_snr must lie within snr_bounds"),
        (
            "geodesics.region",
            {"collective_variable": "chi", "value": "0 deg", "plane": ["phi"], "radius": "1 rad"},
            r"geodesics\.region: no collective variable 'chi'",
        ),
        ("paths.frame_interval", "0.5 fs", r"paths\.frame_interval \(0\.0005 ps\) is shorter than system\.time_step"),
    ],
)
def test_refusals_name_the_key(path, value, message):
    parse_settings(system_content(), "fine")
    with pytest.raises(ConfigError, match=f"(?m){message}") as caught:
        parse_settings(assign(system_content(), path, value), "my.yaml")
    assert str(caught.value).startswith("my.yaml: settings are not valid")


def test_model_temperature_between_replicas_needs_mbar():
    content = system_content()
    content["samples"] |= {"model_temperature": "450 K", "weights": "mbar"}
    assert parse_settings(content, "test").samples.model_temperature == 450.0
    content["samples"]["model_temperature"] = "501 K"
    with pytest.raises(ConfigError, match="model_temperature must lie within the ladder"):
        parse_settings(content, "test")


def test_every_mistake_is_listed_at_once():
    content = assign(assign(system_content(), "system.temperature", "1 nm"), "paths.count", 0)
    with pytest.raises(ConfigError) as caught:
        parse_settings(content, "test")
    assert "system.temperature" in str(caught.value)
    assert "paths.count" in str(caught.value)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


class TestFiles:
    def test_unknown_system(self):
        with pytest.raises(ConfigError, match=r"unknown system 'alanine'.*alanine_dipeptide"):
            find_system("alanine")

    def test_systems_are_found_by_file_folder_and_name(self, tmp_path):
        path = write(tmp_path / "mine" / "system.yaml", system_content())
        assert find_system(str(path)) == find_system(str(path.parent)) == path.resolve()
        assert find_system("alanine_dipeptide").parent.name == "alanine_dipeptide"

    @pytest.mark.parametrize(
        "content, message",
        [
            ("- a\n- b\n", "found a list"),
            ("", "found nothing"),
            ("just text", "found a text"),
            ("a: [1, 2\nb: 3", "not valid YAML"),
            ("a: b: c", "not valid YAML"),
        ],
    )
    def test_file_without_settings(self, tmp_path, content, message):
        with pytest.raises(ConfigError, match=rf"bad\.yaml.*{message}"):
            read_yaml(write(tmp_path / "bad.yaml", content))

    def test_missing_file(self, tmp_path):
        with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
            load_settings(tmp_path / "nowhere.yaml")

    def test_binary_file(self, tmp_path):
        (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
        with pytest.raises(ConfigError, match=r"binary\.yaml, line 1: cannot be read \(it is not UTF-8 text\)"):
            read_yaml(tmp_path / "binary.yaml")

    def test_paths_are_relative_to_the_file_that_names_them(self, tmp_path, monkeypatch):
        system = write(tmp_path / "system" / "system.yaml", system_content())
        write(tmp_path / "system" / "own.xml", "<ForceField/>")
        config = {"samples": {"method": "files", "trajectories": ["../data/run.dcd"], "weights": ["weights.npy"]}}
        override = write(tmp_path / "config" / "config.yaml", config)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        settings = load_settings(system, override)
        root = tmp_path.resolve()
        assert settings.system.structures["left"] == root / "system" / "left.pdb"
        assert settings.system.force_field == ("amber99sbildn.xml", str(root / "system" / "own.xml"))
        assert settings.samples.trajectories == (root / "data" / "run.dcd",)
        assert settings.samples.weights == (root / "config" / "weights.npy",)

    def test_absolute_paths_even_if_the_system_file_is_given_relative(self, tmp_path, monkeypatch):
        write(tmp_path / "system.yaml", system_content())
        monkeypatch.chdir(tmp_path)
        settings = load_settings(Path("system.yaml"))
        assert settings.system.structures["left"] == tmp_path.resolve() / "left.pdb"


class TestMerge:
    def load(self, tmp_path: Path, override: dict[str, Any]):
        system = write(tmp_path / "system.yaml", system_content())
        return load_settings(system, write(tmp_path / "config.yaml", override))

    def test_same_method_is_merged_key_by_key(self, tmp_path):
        settings = self.load(tmp_path, {"samples": {"method": "replica_exchange", "length": "50 ps"}})
        assert settings.samples.length == 50.0
        assert settings.samples.temperatures == (300.0, 400.0, 500.0)

    def test_method_need_not_be_repeated(self, tmp_path):
        settings = self.load(tmp_path, {"samples": {"length": "50 ps"}, "system": {"temperature": "310 K"}})
        assert settings.samples.method == "replica_exchange"
        assert settings.samples.length == 50.0
        assert settings.system.temperature == 310.0
        assert settings.system.friction == 1.0

    def test_other_method_replaces_the_section(self, tmp_path):
        settings = self.load(tmp_path, {"samples": {"method": "molecular_dynamics", "length": "30 ps"}})
        assert settings.samples.method == "molecular_dynamics"
        assert settings.samples.length == 30.0
        assert settings.samples.model_temperature == 300.0  # its default, not the replicas' 500 K

    def test_mistake_names_both_files(self, tmp_path):
        with pytest.raises(ConfigError, match=r"system\.yaml with .*config\.yaml: settings are not valid"):
            self.load(tmp_path, {"paths": {"count": 0}})

    def test_config_of_an_earlier_run_can_be_given(self, tmp_path):
        """It has a seed and versions too."""
        earlier = parse_settings(system_content(), "test").model_dump(mode="json", exclude_none=True)
        settings = self.load(tmp_path, earlier | {"seed": 3, "versions": {"openmm": "8.5"}})
        expected = load_settings(tmp_path / "system.yaml")
        assert settings.samples == expected.samples
        assert settings.geodesics == expected.geodesics

    def test_inputs_are_left_alone(self):
        base, override = {"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}}
        assert merge(base, override) == {"a": {"b": 1, "d": 2}, "c": [1]}
        assert base == {"a": {"b": 1}, "c": [1]}
        assert override == {"a": {"d": 2}}


class TestPlaces:
    """Mistakes are said with the line that is wrong."""

    def test_line_of_each_mistake(self, tmp_path):
        text = yaml.safe_dump(assign(system_content(), "system.temperature", "1 nm"), sort_keys=False)
        system = write(tmp_path / "system.yaml", text + "paths:\n  count: 0\n  lenght: 1 ps\n")
        lines = text.count("\n")
        with pytest.raises(ConfigError) as caught:
            load_settings(system)
        message = str(caught.value)
        assert re.search(r"line \d+: system\.temperature: '1 nm' cannot be converted", message)
        assert f"line {lines + 2}: paths.count: Input should be greater" in message
        assert f"line {lines + 3}: paths.lenght: unknown key; did you mean 'length'?" in message

    def test_file_of_each_mistake(self, tmp_path):
        system = write(tmp_path / "system.yaml", assign(system_content(), "system.temperatur", "300 K"))
        config = write(tmp_path / "config.yaml", "\npaths:\n  count: 0\nsystem: {friction: 1}\n")
        with pytest.raises(ConfigError) as caught:
            load_settings(system, config)
        message = str(caught.value)
        assert f"{config}, line 3: paths.count: " in message
        assert f"{config}, line 4: system.friction: 1 has no unit" in message
        assert re.search(re.escape(str(system)) + r", line \d+: system\.temperatur: unknown key", message)

    def test_keys_of_a_section_that_was_replaced_have_no_line(self, tmp_path):
        system = write(tmp_path / "system.yaml", assign(system_content(), "samples.stride", 1))
        config = write(tmp_path / "config.yaml", "samples:\n  method: files\n")
        with pytest.raises(ConfigError, match=rf"{re.escape(str(config))}, line 1: samples\.trajectories: is missing"):
            load_settings(system, config)

    def test_names_of_alternatives_are_left_out_and_names_of_the_user_are_not(self):
        content = assign(system_content(), "system.collective_variables.phi.dihedral", [0, 1, 2, [3]])
        with pytest.raises(ConfigError, match=r"(?m)^  system\.collective_variables\.phi\.dihedral\.3: .* or: "):
            parse_settings(content, "test")
        content = assign(system_content(), "system.states.mixture", {"structure": 1, "boxes": []})
        with pytest.raises(ConfigError, match=r"(?m)^  system\.states\.mixture\.structure: Input"):
            parse_settings(content, "test")
        content = system_content() | {"denoiser": {"components": "x", "kind": "mixture"}, "coordinates": "torsions"}
        with pytest.raises(ConfigError, match=r"(?m)^  denoiser\.components: Input"):
            parse_settings(content, "test")

    def test_many_mistakes_are_not_all_listed(self):
        content = system_content() | {f"key{index}": 1 for index in range(5000)}
        with pytest.raises(ConfigError, match="mend these first") as caught:
            parse_settings(content, "test")
        assert len(str(caught.value).splitlines()) == 22


class TestStoredRun:
    @pytest.mark.parametrize("seed", ["[1]", "null", "one", "-1", "true", "1.5"])
    def test_seed_that_no_run_has(self, tmp_path, seed):
        write(tmp_path / "config.yaml", f"seed: {seed}\nversions: {{}}\n")
        with pytest.raises(OutputError, match="its seed is no number from 0 on"):
            open_run(tmp_path)

    def test_settings_and_seed(self, tmp_path):
        settings = load_settings(write(tmp_path / "system.yaml", system_content()))
        content = settings.model_dump(mode="json", exclude_none=True) | {"seed": 7, "versions": {"openmm": "8"}}
        write(tmp_path / "config.yaml", content)
        assert open_run(tmp_path) == (settings, 7)

    def test_name_that_no_folder_can_have(self):
        for folder in (Path("x" * 5000), Path("a\0b")):
            with pytest.raises(SpacetimeError, match="holds no run"):
                open_run(folder)
        with pytest.raises(ConfigError, match="unknown system"):
            find_system("x" * 5000)


def test_links_that_lead_to_themselves_are_refused(tmp_path):
    (tmp_path / "left.pdb").symlink_to("left.pdb")
    with pytest.raises(ConfigError, match=r"system\.yaml: 'left\.pdb' cannot be the name of a file"):
        load_settings(write(tmp_path / "system.yaml", system_content()))
