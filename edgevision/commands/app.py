"""`edgevision app`: apps with a trained model inside."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Put trained models into an app.", no_args_is_help=True)

Models = Annotated[list[Path], typer.Option("--model", help="Run, export folder or artefact; one per tab.")]
Certificate = Annotated[Path | None, typer.Option(help="File of a certificate, for HTTPS.", dir_okay=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace the project.")]


@app.command()
def browser(
    model: Models,
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="0.0.0.0 for other devices on the network.")] = "127.0.0.1",
    cert: Certificate = None,
    key: Annotated[Path | None, typer.Option(help="The key of the certificate.", dir_okay=False)] = None,
    build: Annotated[Path | None, typer.Option(help="Write the site here, for any host, and end.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the site.")] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
) -> None:
    """Open a web app with these models: captions, digits and text, all computed in the browser.

    \b
    Examples:
      edgevision app browser --model runs/scenes
      edgevision app browser --model exported/scenes --model runs/lenet --model runs/shakespeare
      edgevision app browser --model runs/scenes --build site    # for any host of static files
    """
    from edgevision.app.browser import serve_site, write_site
    from edgevision.errors import UsageError

    if (cert is None) != (key is None):
        raise UsageError("--cert and --key go together")
    if build is not None:
        typer.echo(f"{write_site(model, build, force)}: upload it, or: python -m http.server -d {build}")
        return
    serve_site(model, host, port, None if cert is None or key is None else (cert, key), show)


@app.command()
def ios(
    model: Models, out: Annotated[Path, typer.Option(help="Folder to write.")], force: Force = False
) -> None:
    """Write an Xcode project: captions, digits and text on an iPhone, with these models in it.

    \b
    Examples:
      edgevision app ios --model runs/lenet --out ios
      edgevision app ios --model exported/scenes --model exported/shakespeare --out ios --force
    """
    from edgevision.app.ios import write_ios

    typer.echo(f"open {write_ios(model, out, force)}")


@app.command()
def android(
    model: Models, out: Annotated[Path, typer.Option(help="Folder to write.")], force: Force = False
) -> None:
    """Write a Gradle project: captions, digits and text on an Android phone, with these models in it.

    \b
    Examples:
      edgevision app android --model runs/lenet --out android
      edgevision app android --model exported/scenes --model exported/shakespeare --out android --force
    """
    from edgevision.app.android import write_android

    typer.echo(f"open {write_android(model, out, force)} in Android Studio")
