// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModelRegistry as I} from "../../src/interfaces/IModelRegistry.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract RetireTest is World {
    function test_a_retired_adapter_says_when_its_bond_is_free() public {
        uint64 at = uint64(block.timestamp);
        _emits(address(models));
        emit I.AdapterRetired(ONE, at + windows().unbonding);
        vm.prank(maker);
        models.retire(ONE);
        eq("retired at", models.adapterOf(ONE).retiredAt, at);
        eq("bond", models.adapterOf(ONE).bond, BOND);
    }

    function test_only_its_owner_retires_it() public {
        _refuses(I.NotAdapterOwner.selector, abi.encode(ONE, stranger));
        vm.prank(stranger);
        models.retire(ONE);
    }

    function test_an_unknown_adapter_cannot_retire() public {
        _refuses(I.UnknownAdapter.selector, abi.encode(bytes32("no")));
        models.retire("no");
    }

    function test_it_retires_once() public {
        vm.startPrank(maker);
        models.retire(ONE);
        _refuses(I.AlreadyRetired.selector, abi.encode(ONE));
        models.retire(ONE);
    }
}

contract ReclaimBondTest is World {
    function _retire() private returns (uint64 freeAt) {
        vm.prank(maker);
        models.retire(ONE);
        return uint64(block.timestamp) + windows().unbonding;
    }

    function test_the_bond_goes_back_to_its_owner() public {
        vm.warp(_retire());
        uint256 before = token.balanceOf(maker);
        _emits(address(models));
        emit I.BondReclaimed(ONE, maker, BOND);
        vm.prank(maker);
        models.reclaimBond(ONE);
        eq("paid", token.balanceOf(maker) - before, BOND);
        eq("bond", models.adapterOf(ONE).bond, 0);
        (uint128 bondsIn, uint128 bondsOut) = models.totals();
        eq("out", bondsOut, BOND);
        eq("held", token.balanceOf(address(models)), bondsIn - bondsOut);
    }

    function test_it_goes_back_once() public {
        vm.warp(_retire());
        vm.startPrank(maker);
        models.reclaimBond(ONE);
        _refuses(I.NoBond.selector, abi.encode(ONE));
        models.reclaimBond(ONE);
    }

    function test_a_stranger_reclaims_nothing() public {
        vm.warp(_retire());
        _refuses(I.NotAdapterOwner.selector, abi.encode(ONE, stranger));
        vm.prank(stranger);
        models.reclaimBond(ONE);
    }

    function test_not_while_it_is_offered() public {
        _refuses(I.NotRetired.selector, abi.encode(ONE));
        vm.prank(maker);
        models.reclaimBond(ONE);
    }

    /// @dev F: who takes the bond back before what was claimed is final has nothing behind a false index.
    function test_not_a_second_before_unbonding_is_over() public {
        uint64 freeAt = _retire();
        vm.warp(freeAt - 1);
        _refuses(I.BondLocked.selector, abi.encode(freeAt));
        vm.prank(maker);
        models.reclaimBond(ONE);
    }

    function test_an_unknown_adapter_has_no_bond() public {
        _refuses(I.UnknownAdapter.selector, abi.encode(bytes32("no")));
        models.reclaimBond("no");
    }
}
