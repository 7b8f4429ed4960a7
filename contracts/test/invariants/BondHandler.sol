// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ContributorBond, SignedBatch} from "../../src/interfaces/IContributorBonds.sol";
import {Bonded} from "../support/Bonded.sol";
import {vm} from "../support/Vm.sol";

/// @notice All that can be done with bonds of contributors, in any order. What would be refused is not tried, except by
/// {steal}.
contract BondHandler is Bonded {
    uint256 private constant GIVERS = 3;

    mapping(string action => uint256) public numCalls;
    uint256 private _numBatches;
    uint256 private _toTreasury;
    bool private _isStolen;

    modifier counted(string memory action) {
        _;
        ++numCalls[action];
    }

    function setUp() public override {
        super.setUp();
        for (uint256 n = 0; n < GIVERS; ++n) _mayPost(_giverOf(n));
        _toTreasury = token.balanceOf(treasury);
    }

    function _giverOf(uint256 n) private pure returns (address) {
        return vm.addr(GIVER_KEY + n % GIVERS);
    }

    function _idOf(uint256 n) private view returns (bytes32) {
        return n / GIVERS % 2 == 0 ? first : second;
    }

    function _bondOf(uint256 n) private view returns (ContributorBond memory) {
        return bonds.bondOf(_idOf(n), _giverOf(n));
    }

    function post(uint256 n, uint256 amount) external counted("post") {
        bytes32 deciders = bonds.decidersOf(_idOf(n));
        vm.prank(_giverOf(n));
        bonds.postBond(_idOf(n), _giverOf(n), uint128(amount % OPEN) + 1, deciders);
    }

    function postFor(uint256 n, uint256 amount) external {
        bytes32 deciders = bonds.decidersOf(_idOf(n));
        if (_bondOf(n).held == 0 || _bondOf(n).deciders == deciders) _postFor(n, uint128(amount % OPEN) + 1, deciders);
    }

    function _postFor(uint256 n, uint128 amount, bytes32 deciders) private counted("postFor") {
        vm.prank(stranger);
        bonds.postBond(_idOf(n), _giverOf(n), amount, deciders);
    }

    function startTakeBack(uint256 n, uint256 amount) external {
        if (_bondOf(n).held > 0) _start(n, uint128(amount % (uint256(_bondOf(n).held) + 1)));
    }

    function _start(uint256 n, uint128 amount) private counted("startTakeBack") {
        vm.prank(_giverOf(n));
        bonds.startTakeBack(_idOf(n), amount);
    }

    function takeBack(uint256 n, uint256) external {
        if (_bondOf(n).leaving > 0 && block.timestamp >= _bondOf(n).readyAt) _take(n);
    }

    function _take(uint256 n) private counted("takeBack") {
        vm.prank(_giverOf(n));
        bonds.takeBackBond(_idOf(n));
    }

    function forfeit(uint256 n, uint256 amount) external {
        ContributorBond memory bond = _bondOf(n);
        (, uint32 need) = datanets.curatorsOf(_idOf(n));
        if (bond.held > 0 && need == 0 && bond.deciders == bonds.decidersOf(_idOf(n))) _forfeitOf(n, amount);
    }

    function _forfeitOf(uint256 n, uint256 amount) private counted("forfeit") {
        bytes32 id = _idOf(n);
        SignedBatch memory batch = _batchOf(GIVER_KEY + n % GIVERS, id, _giverOf(n), bytes32(++_numBatches));
        vm.prank(curator);
        bonds.forfeitBond(id, _giverOf(n), batch, uint128(amount % (2 * OPEN)) + 1, "junk", new bytes[](0));
    }

    /// @dev Rarely other curators, so that most bonds stay within reach.
    function curate(uint256 n, uint256) external counted("curate") {
        _curate(n % 8 == 0 ? 2 : 0);
    }

    function wait(uint256 n, uint256) external counted("wait") {
        vm.warp(block.timestamp + n % windows().unbonding + 1);
    }

    /// @dev What nobody may do: take another's bond back, or forfeit it as a stranger.
    function steal(uint256 n, uint256 amount) external counted("steal") {
        bytes32 id = _idOf(n);
        SignedBatch memory batch = _batchOf(GIVER_KEY + n % GIVERS, id, _giverOf(n), "stolen");
        vm.startPrank(stranger);
        try bonds.takeBackBond(id) {
            _isStolen = true;
        } catch {}
        try bonds.forfeitBond(id, _giverOf(n), batch, uint128(amount), "junk", new bytes[](0)) {
            _isStolen = true;
        } catch {}
        vm.stopPrank();
    }

    function checkSums() external view {
        uint256 held = 0;
        for (uint256 n = 0; n < 2 * GIVERS; ++n) {
            ContributorBond memory bond = _bondOf(n);
            held += bond.held;
            yes("leaving within held", bond.leaving <= bond.held);
        }
        (uint128 posted, uint128 takenBack, uint128 forfeited) = bonds.bondTotals();
        eq("posted", posted, held + takenBack + forfeited);
        eq("balance", token.balanceOf(address(bonds)), held);
        eq("treasury", token.balanceOf(treasury) - _toTreasury, forfeited);
        yes("nothing stolen", !_isStolen);
    }

    /// @dev Everybody takes back all that is left.
    function leave() external {
        for (uint256 n = 0; n < 2 * GIVERS; ++n) {
            if (_bondOf(n).held > 0) _start(n, _bondOf(n).held);
        }
        vm.warp(block.timestamp + windows().unbonding);
        for (uint256 n = 0; n < 2 * GIVERS; ++n) {
            if (_bondOf(n).held > 0) _take(n);
        }
        eq("empty", token.balanceOf(address(bonds)), 0);
    }
}
