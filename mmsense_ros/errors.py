"""Errors a user can mend: each message names the topic or file and the remedy. The command line exits with 2 on them."""


class MMSenseError(Exception):
    """Base of all errors that come from input, not from a fault in this package."""


class MessageError(MMSenseError):
    """A sensor message that contradicts itself or cannot be understood."""


class BagError(MMSenseError):
    """A bag that cannot be read, or lacks what is needed."""


class ModelError(MMSenseError):
    """A model file that is missing, damaged, or of another version."""


class EngineError(MMSenseError):
    """An engine that is not installed or cannot run the model."""


class EngineMissingError(EngineError):
    """The packages that an engine needs are not installed."""


class CalibrationError(MMSenseError):
    """An extrinsic calibration that is missing or wrong."""


class ConfigError(MMSenseError):
    """A configuration file or value that cannot be used."""
