// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {INodeStaking as I} from "../../src/interfaces/INodeStaking.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract BondTest is World {
    function test_a_bond_is_the_callers_and_counts_at_once() public {
        _emits(address(staking));
        emit I.Bonded(payer, 7);
        vm.prank(payer);
        staking.bond(7);
        eq("bonded", staking.bondedOf(payer), 7);
        eq("of all", staking.totals().bonded, STAKE + 7);
        eq("in", staking.totals().bondedIn, STAKE + 7);
        eq("held", token.balanceOf(address(staking)), STAKE + 7);
        vm.prank(payer);
        staking.bond(3);
        eq("adds up", staking.bondedOf(payer), 10);
    }

    function test_nothing_is_no_bond() public {
        _refuses(I.ZeroAmount.selector);
        vm.prank(payer);
        staking.bond(0);
    }

    /// @dev F: an allowance is its owner's: a bond takes the caller's tokens.
    function test_a_stranger_cannot_bond_others_tokens() public {
        _refuses(IERC20Errors.ERC20InsufficientAllowance.selector, abi.encode(staking, 0, 7));
        vm.prank(stranger);
        staking.bond(7);
    }

    function test_a_permit_stands_for_the_allowance() public {
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(staking), 7);
        vm.prank(payer);
        staking.bondWithPermit(7, _deadline(), v, r, s);
        eq("bonded", staking.bondedOf(payer), 7);
    }

    function test_a_permit_that_somebody_sent_first_does_no_harm() public {
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(staking), 7);
        vm.prank(stranger);
        token.permit(payer, address(staking), 7, _deadline(), v, r, s);
        vm.prank(payer);
        staking.bondWithPermit(7, _deadline(), v, r, s);
        eq("bonded", staking.bondedOf(payer), 7);
    }

    function test_anothers_permit_bonds_nothing() public {
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(staking), 7);
        _refuses(IERC20Errors.ERC20InsufficientAllowance.selector, abi.encode(staking, 0, 7));
        vm.prank(stranger);
        staking.bondWithPermit(7, _deadline(), v, r, s);
    }
}
