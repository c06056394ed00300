"""A statement signed with sigstore: by whom is known from an identity provider, and no key is kept."""

from __future__ import annotations

from pathlib import Path

from tuneline.errors import Temporary, UserError
from tuneline.stage import Context

TOKEN = "SIGSTORE_ID_TOKEN"


def identity(context: Context) -> str:
    """Return the token that says who signs. Raises UserError if there is none, before anything is published."""
    try:
        from sigstore.oidc import IdentityError, IdentityToken, detect_credential
    except ImportError:
        raise UserError("`sign`: the package sigstore is not installed. Install it, or set `sign: false`.") from None
    try:
        token = detect_credential() or context.secret(TOKEN)
        IdentityToken(token)
    except IdentityError:
        raise UserError(f"{TOKEN}: is no valid token for sigstore, or it has expired. Get a new one.") from None
    return token


def sign(statement: Path, bundle: Path, token: str) -> Path:
    """Write the bundle that proves who signed the statement, and when. It asks sigstore's public servers."""
    from sigstore.dsse import Statement
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityError, IdentityToken
    from sigstore.sign import SigningContext

    try:
        trust = SigningContext.from_trust_config(ClientTrustConfig.production())
        with trust.signer(IdentityToken(token)) as signer:
            bundle.write_text(signer.sign_dsse(Statement(statement.read_bytes())).to_json())
    except IdentityError:
        raise UserError(f"{TOKEN}: has expired. Get a new one, and run the same command again.") from None
    except (Error, OSError) as e:
        raise Temporary(f"sigstore cannot sign now ({type(e).__name__}). Run the same command again.") from e
    return bundle
