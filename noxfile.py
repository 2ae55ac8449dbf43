"""Runs the tests on each platform of docs/platforms.md. Each session has an environment of its own, in .nox/.

pip install nox
nox -l                                         list the sessions
nox -s openmmlab-3.12                          one session; the result goes to docs/platforms.json and docs/platforms.md
nox -s openmmlab-3.12 -- tests/ops             some tests; the result is not recorded
nox -R -s openmmlab-3.12                       again, in the environment that is there

Every session needs its Python: with pyenv, set PYENV_VERSION=3.13.0:3.12.1:3.11.7:3.10.13. The tests need two cores and
15 minutes; a session takes 1 GB of disk with a CPU build of torch, 6 GB with a CUDA build, as PyPI has for Linux.
"""

import nox

nox.options.default_venv_backend = 'venv'


@nox.session(python=['3.10', '3.11', '3.12', '3.13'])
def openmmlab(session: nox.Session) -> None:
    """OpenMMLab's packages, in the versions of requirements.txt."""
    run_tests(session, '-r', 'requirements.txt')


@nox.session(python=['3.13'])
def onedl(session: nox.Session) -> None:
    """OneDL's packages, in the versions of requirements-onedl.txt."""
    run_tests(session, '-r', 'requirements-onedl.txt')


@nox.session(python=['3.10'])
def oldest_torch(session: nox.Session) -> None:
    """The oldest torch that pyproject.toml allows; the other versions are those of requirements.txt."""
    dependencies = nox.project.load_toml('pyproject.toml')['project']['dependencies']
    (torch,) = (line.replace('>=', '==') for line in dependencies if line.startswith('torch>='))
    with open('requirements.txt') as file:
        others = [line for line in file.read().splitlines() if not line.startswith(('#', 'torch=='))]
    run_tests(session, torch, *others)


def run_tests(session: nox.Session, *requirements: str) -> None:
    session.install(*requirements)
    session.install('--no-deps', '--no-build-isolation', '-e', '.')
    if session.posargs:
        session.run('python', '-m', 'pytest', *session.posargs)
        return
    report = f'{session.create_tmp()}/junit.xml'
    session.run('python', '-m', 'pytest', f'--junitxml={report}', success_codes=[0, 1])  # 1: some tests failed
    session.run('python', 'tests/platforms.py', session.name, report)
