"""Who judges tokens for the identity service, as its configuration says, and what must run beside for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import IService

from meshtx.config import IdentityConfig
from meshtx.errors import ConfigError, CredentialsError
from meshtx.files import read_file
from meshtx.identity.jwks import JwksValidator
from meshtx.identity.jwks_keys import JwksKeys, parse_keys
from meshtx.identity.local_tokens import LocalValidator
from meshtx.identity.service import VALIDATIONS
from meshtx.identity.token_claims import AUDIENCE
from meshtx.identity.validators import load_validator
from meshtx.interfaces import ITokenValidator
from meshtx.kube.api import KubeApi
from meshtx.kube.api_config import SERVICE_ACCOUNT, in_cluster
from meshtx.kube.jwks_url import JwksUrl
from meshtx.kube.self_check import SelfCheck
from meshtx.kube.token_review import NEEDED, TIMEOUT, TokenReviewValidator
from meshtx.observe.metrics import Metrics
from meshtx.pki.bundle import TrustBundle
from meshtx.watch import Followed


@dataclass(frozen=True)
class Validation:
    """A validator, and what it needs.

    :param beside: runs while the program does.
    :param ready_reason: why no token can be judged now, ``None`` where one can.
    :param api: of the cluster whose API server is asked, if it is.
    """

    validator: ITokenValidator
    beside: IService | None = None
    ready_reason: Callable[[], str | None] = lambda: None
    api: KubeApi | None = None


def make_validation(reactor: Any, config: IdentityConfig, metrics: Metrics, environ: Mapping[str, str]) -> Validation:
    """Return the validator that the configuration names, and what it needs.

    :param reactor: Any: a reactor has no one type.
    :param environ: where the kubelet says how to reach the API server.
    :raises ConfigError: a file that it needs cannot be used, or there is no such validator.
    """
    match config.validator:
        case "local":
            return Validation(_local(config.token_key_file))
        case "kubernetes":
            return _kubernetes(reactor, config, environ)
        case "jwks":
            return _jwks(reactor, config, metrics)
        case name:
            return Validation(load_validator(name))


def _local(path: Path | None) -> LocalValidator:
    hint = "name the token.pub that 'meshtx ca init' has made"
    if path is None:
        raise ConfigError("token_key_file", "not set", hint)
    try:
        return LocalValidator.from_pem(read_file(path), str(path))
    except CredentialsError as error:
        raise ConfigError("token_key_file", str(error), hint) from error


def _kubernetes(reactor: Any, config: IdentityConfig, environ: Mapping[str, str]) -> Validation:
    where = in_cluster(environ, config.kubernetes_folder or SERVICE_ACCOUNT)
    api = KubeApi(reactor, where, timeout=TIMEOUT, kept=VALIDATIONS)  # so that a crowd costs no handshake each
    check = SelfCheck(api, [NEEDED], reactor)
    validator = TokenReviewValidator(api, reactor, require_pod=config.token_requires_pod is not False)
    return Validation(validator, check, check.ready_reason, api)


def _jwks(reactor: Any, config: IdentityConfig, metrics: Metrics) -> Validation:
    if config.jwks_issuer is None:
        raise ConfigError("jwks_issuer", "not set", "name the tokens' issuer")
    keys = _keys(reactor, config, metrics)
    validator = JwksValidator(keys, config.jwks_issuer, config.jwks_audience or AUDIENCE)
    return Validation(validator, keys, keys.ready_reason)


def _keys(reactor: Any, config: IdentityConfig, metrics: Metrics) -> JwksKeys:
    reloaded = metrics.reloads(Followed.KEY_SET)
    if config.jwks_file is not None:
        read = partial(read_file, config.jwks_file)
        try:
            first = parse_keys(read())
        except CredentialsError as error:
            hint = "name a JSON Web Key Set, as 'kubectl get --raw /openid/v1/jwks' prints"
            raise ConfigError(f"jwks_file: {config.jwks_file}", str(error), hint) from error
        return JwksKeys(str(config.jwks_file), read, reactor, keys=first, reloaded=reloaded)
    if config.jwks_url is None or config.jwks_ca_file is None:
        raise ConfigError("jwks_file, jwks_url", "neither is set", "set one of them to the issuer's key set")
    try:
        trust = TrustBundle.from_pem(read_file(config.jwks_ca_file), str(config.jwks_ca_file))
    except CredentialsError as error:
        raise ConfigError("jwks_ca_file", str(error), "name the authorities of the URL's server") from error
    return JwksKeys(config.jwks_url, JwksUrl(reactor, config.jwks_url, trust).fetch, reactor, reloaded=reloaded)
