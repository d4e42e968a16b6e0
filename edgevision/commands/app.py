"""`edgevision app`: apps with a trained model inside."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Put trained models into an app.", no_args_is_help=True)

Models = Annotated[list[Path], typer.Option("--model", help="Run, export folder or artefact; one per tab.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the project.")]


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
